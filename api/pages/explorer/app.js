// The page: reads the address, calls the service, and shows one of its views (`view_*.js`).

import { elsewhere, kindOf, read, write } from "./address.js";
import { make } from "./elements.js";
import { showFacts } from "./facts.js";
import { attributesInUse, attributeShown, namedLogos, useNamesOf } from "./names.js";
import { emptiness, notice, problem } from "./notices.js";
import { usePicturesOf } from "./pictures.js";
import { remember } from "./recent.js";
import { watchSearch } from "./search_box.js";
import { beginView } from "./selection.js";
import * as service from "./service.js";
import { showLogo } from "./view_logo.js";
import { showStart } from "./view_start.js";

const KEPT_IMAGES = 20;
const LOOK_AGAIN = 30_000; // milliseconds between requests for the status, while the page is visible

const at = (id) => document.getElementById(id);
const main = at("main");
const images = new Map(); // the latest images of this tab, by the number in the address, and those at addresses, by these
let view = read(location.search);
let status = null;
let trouble = null; // the error, if there is no status
let looked = lookAtStatus();
let named = lookAtNames();
let asking = new AbortController();
let taken = 0; // number of images so far
let arriving = false; // whether another view was opened and is not shown yet

// What the views are given.
const page = {
  get view() {
    return view;
  },
  get status() {
    return status;
  },
  get trouble() {
    return trouble;
  },
  get signal() {
    return asking.signal; // aborted when another view is opened
  },
  looked: () => looked,
  named: () => named,
  mayHaveMap: () => status?.map_points !== 0, // true until the status is known
  show,
  showOnly,
  offer: beginView,
  settle,
  goTo: (changes) => goTo(changes),
  goToLogo: (logo) => goToLogo(logo),
  retry,
};

// --- navigation ------------------------------------------------------------------------------------------------------

function go(address) {
  history.replaceState({ scroll: scrollY, height: main.offsetHeight }, "");
  main.style.minHeight = "";
  history.pushState(null, "", address);
  turn();
  render({ arrived: true });
}

// Reads the view from the address.
function turn() {
  const before = view;
  view = read(location.search);
  if (before.index !== view.index) looked = lookAtStatus();
  if (before.index !== view.index || before.by !== view.by) named = lookAtNames();
}

const goTo = (changes) => go(write({ ...view, ...changes }));
const goToLogo = (logo) => go(write(elsewhere(view, { logo })));

// Changes how the same view is shown, without showing it again.
function settle(changes) {
  view = { ...view, ...changes };
  history.replaceState(history.state, "", write(view));
}

addEventListener("popstate", async (event) => {
  if (!event.state && write(read(location.search)) === write(view)) return; // the skip link: the view is the same
  turn();
  await render();
  main.style.minHeight = `${event.state?.height ?? 0}px`; // keeps the page high enough for scrolling until the pictures are loaded
  scrollTo(0, event.state?.scroll ?? 0);
});

document.addEventListener("click", (event) => {
  const target = event.target.closest?.("a[data-go]");
  if (!target || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(target.getAttribute("href"));
});

// Shows a view. Moves the focus to its heading if the user opened the view, or if the focus was in the view that it
// replaces. It does so only once: when the answer comes later, the user may have moved on.
function show(...parts) {
  const moved = arriving || main.contains(document.activeElement);
  main.replaceChildren(...parts);
  if (moved) main.querySelector("h1").focus({ preventScroll: true });
  arriving = false;
}

// Shows a notice instead of a view.
function showOnly(notice) {
  const heading = notice.querySelector("h2");
  heading.replaceWith(make("h1", { tabIndex: -1 }, heading.textContent));
  show(notice);
}

// --- the views -------------------------------------------------------------------------------------------------------

const TITLES = { logo: () => `Logo ${view.logo}`, compare: () => `Logos ${view.logo} and ${view.with}`, value: () => view.value, image: () => (view.url ? "An image of the web" : "Your image"), duplicates: () => "Duplicates" };

async function render({ arrived = false } = {}) {
  asking.abort();
  asking = new AbortController();
  const asked = asking;
  main.ariaBusy = "true";
  const kind = kindOf(view);
  at("duplicates").href = write(elsewhere(view, { duplicates: true }));
  at("logo-id").value = view.logo ?? view.value ?? view.url ?? "";
  arriving = arrived;
  if (arrived) scrollTo(0, 0);
  document.body.dataset.view = kind;
  const title = TITLES[kind]?.();
  document.title = [title, "Logo explorer"].filter(Boolean).join(" · ");
  if (["logo", "value"].includes(kind) || view.url) remember(view.index, view.url ?? title, write(view));
  beginView({});
  try {
    if (kind === "logo") await showLogo(page);
    else if (kind === "start") await showStart(page);
    else if (kind === "image") await renderImage();
    else if (kind === "value") await (await import("./view_value.js")).showValue(page);
    else if (kind === "compare") await (await import("./view_compare.js")).showCompare(page);
    else await (await import("./view_duplicates.js")).showDuplicates(page);
  } catch (error) {
    if (!asked.signal.aborted) showOnly(problem(error, view, retry));
  }
  if (asked !== asking) return;
  main.ariaBusy = "false";
}

const chooser = () => make("button", { type: "button", className: "primary", onclick: () => at("file").click() }, "Choose an image");

async function renderImage() {
  if (view.url && !images.has(view.url)) images.set(view.url, { address: view.url, url: view.url, box: null });
  const image = images.get(view.url ?? view.image);
  if (!image) return showOnly(notice("The image is gone", "The page keeps your image only until it is closed or reloaded. Choose the image again.", { action: chooser() }));
  const { showImage } = await import("./view_image.js");
  if (images.get(view.url ?? view.image) === image) await showImage(page, image, chooser);
}

// --- the index -------------------------------------------------------------------------------------------------------

async function lookAtStatus() {
  const { index } = view;
  try {
    const found = await service.status(index);
    if (index !== view.index) return; // the status of another index has been requested
    status = found;
    trouble = null;
  } catch (error) {
    if (index !== view.index) return;
    if (error.status !== 0) status = null;
    trouble = error;
  }
  showFacts(at("facts"), status, namedLogos());
  for (const tabs of main.querySelectorAll(".tabs")) tabs.hidden = !page.mayHaveMap();
  const names = status?.indexes ?? [];
  at("index-choice").hidden = names.length < 2;
  at("index").replaceChildren(...names.map((name) => make("option", { value: name, selected: name === status.index }, name)));
}

async function lookAtNames({ again = false } = {}) {
  const { index, by } = view;
  usePicturesOf(index);
  await useNamesOf(index, by, { again });
  if (index !== view.index || by !== view.by) return;
  const keys = attributesInUse().map(({ key }) => key);
  if (keys.length && !keys.includes(attributeShown())) keys.push(attributeShown());
  at("by-choice").hidden = keys.length < 2;
  at("by").replaceChildren(...keys.map((key) => make("option", { value: key, selected: key === attributeShown() }, `by ${key}`)));
  showFacts(at("facts"), status, namedLogos());
}

// The part of the status that the start view shows. New logos do not change it.
const told = () => JSON.stringify([status?.generation, status?.error, !status?.logos_stored, status?.map_points, trouble?.status]);

async function lookAgain() {
  if (document.visibilityState !== "visible") return;
  const before = told();
  const stored = status?.logos_stored;
  await lookAtStatus();
  if (status?.logos_stored !== stored || told() !== before) service.forget();
  if (told() !== before && document.body.dataset.view === "start") await render();
}

async function retry() {
  service.forget();
  looked = lookAtStatus();
  named = lookAtNames({ again: true });
  await render();
}

async function random() {
  const from = view;
  try {
    const logo = await service.randomLogo(view.index);
    if (view !== from) return; // the user has opened another view
    if (logo !== null) return goToLogo(logo);
    await looked;
    arriving = true;
    showOnly(emptiness(status) ?? notice("No logo", "The index holds no logo to take."));
  } catch (error) {
    if (view === from) showOnly(problem(error, view, retry));
  }
}

async function take(file) {
  const refuse = (title) => showOnly(notice(title, file.name, { bad: true, action: chooser() }));
  if (file.type && !file.type.startsWith("image/")) return refuse("This is not an image");
  const number = String(++taken);
  try {
    const { PickedImage } = await import("./picked_image.js");
    images.set(number, await PickedImage.from(file));
    if (images.size > KEPT_IMAGES) forgetImage(images.keys().next().value);
  } catch (error) {
    if (error instanceof DOMException) return refuse("The image cannot be read");
    return showOnly(problem(error, view, retry));
  }
  go(write(elsewhere(view, { image: number })));
}

function forgetImage(number) {
  const { address, url } = images.get(number);
  if (!address) URL.revokeObjectURL(url);
  images.delete(number);
}

// --- the start -------------------------------------------------------------------------------------------------------

watchSearch(at("search"), at("logo-id"), () => view, go);
at("random").addEventListener("click", random);
at("index").addEventListener("change", () => goTo({ index: at("index").value, by: null, within: null, ...(view.value && { value: null }) }));
at("by").addEventListener("change", () => goTo({ by: at("by").value, value: null }));
at("menu").addEventListener("click", () => openMenu(at("menu").getAttribute("aria-expanded") !== "true"));
at("corner").addEventListener("keydown", (event) => event.key === "Escape" && (openMenu(false), at("menu").focus()));
addEventListener("nameschange", () => showFacts(at("facts"), status, namedLogos()));
setInterval(lookAgain, LOOK_AGAIN);

function openMenu(open) {
  at("menu").setAttribute("aria-expanded", String(open));
  at("corner").classList.toggle("open", open);
}

import("./image_entry.js").then(({ watchForImages }) => watchForImages(at("choose"), at("file"), at("drop"), take, (url) => go(write(elsewhere(view, { url })))));

await render();
