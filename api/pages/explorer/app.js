// The page: reads the address, calls the service, and shows one of three views: the start, a logo, or the user's image.

import { read, write } from "./address.js";
import { make, say } from "./elements.js";
import { showFacts } from "./facts.js";
import { emptyGrid, neighbourGrid } from "./neighbours.js";
import { emptiness, noMap, notice, problem } from "./notices.js";
import { resultsHead } from "./results_head.js";
import * as service from "./service.js";
import { imageCall, logoSubject } from "./subject.js";

const KEPT_IMAGES = 20;
const LOOK_AGAIN = 30_000; // milliseconds between requests for the status, while the page is visible

const at = (id) => document.getElementById(id);
const main = at("main");
const images = new Map(); // the latest images of this tab, by the number in the address
let view = read(location.search);
let status = null;
let trouble = null; // the error, if there is no status
let looked = lookAtStatus();
let asking = new AbortController();
let logoMap = null;
let taken = 0; // number of images so far
let arriving = false; // whether another view was opened and is not shown yet

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
}

const goTo = (changes) => go(write({ ...view, ...changes }));
const goToLogo = (logo) => goTo({ logo, image: null });

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

// --- the three views -------------------------------------------------------------------------------------------------

async function render({ arrived = false } = {}) {
  asking.abort();
  asking = new AbortController();
  const asked = asking;
  main.ariaBusy = "true";
  at("logo-id").value = view.logo ?? "";
  arriving = arrived;
  if (arrived) scrollTo(0, 0);
  document.body.dataset.view = view.logo ? "logo" : view.image ? "image" : "start";
  document.title = [view.logo ? `Logo ${view.logo}` : view.image && "Your image", "Logo explorer"].filter(Boolean).join(" · ");
  await (view.logo ? renderLogo() : view.image ? renderImage() : renderStart());
  if (asked !== asking) return;
  main.ariaBusy = "false";
}

async function renderStart() {
  const start = make(
    "section",
    { className: "subject start" },
    make("h1", { tabIndex: -1 }, "Which logos look alike?"),
    make("p", {}, "Find a logo by its id, take a random one, or use an image of your own: choose it, paste it, or drop it anywhere on this page."),
  );
  const beside = make("div", { className: "results" });
  show(start, beside);
  const asked = asking.signal;
  await looked;
  if (asked.aborted) return;
  if (trouble) return beside.replaceChildren(problem(trouble, view, retry));
  const broken = status.error && !status.logos_indexed && new service.ServiceError(503, service.INDEX_UNAVAILABLE, status.error);
  const instead = broken ? problem(broken, view, retry) : emptiness(status);
  if (instead) return beside.replaceChildren(instead);
  start.append(make("p", {}, make("button", { type: "button", className: "primary", onclick: random }, "Take a random logo")));
  await showMap(beside, null, []);
}

async function renderLogo() {
  if (!/^\d{1,19}$/.test(view.logo)) return showOnly(notice("No such logo", "A logo’s id is a whole number."));
  const { element, told } = logoSubject(view);
  const results = make("section", { className: "results", "aria-label": "Nearest logos" });
  show(element, results);
  const asked = asking.signal;
  const waiting = setTimeout(() => results.replaceChildren(headOfResults(), emptyGrid(view.count)), 120);
  try {
    const answer = await service.neighboursOfLogo(view, asked);
    clearTimeout(waiting);
    if (asked.aborted) return;
    told(answer);
    await showNeighbours(results, answer.filter(({ id }) => id !== view.logo).slice(0, view.count));
  } catch (error) {
    clearTimeout(waiting);
    if (asked.aborted) return;
    showOnly(problem(error, view, retry, random));
  }
}

async function renderImage() {
  const image = images.get(view.image);
  if (!image) return showOnly(notice("The image is gone", "The page keeps your image only until it is closed or reloaded. Choose the image again."));
  const left = asking.signal;
  let BoxEditor;
  try {
    ({ BoxEditor } = await import("./box_editor.js"));
  } catch (error) {
    if (!left.aborted) showOnly(problem(error, view, retry));
    return;
  }
  if (left.aborted) return;
  const results = make("section", { className: "results", "aria-label": "Nearest logos" });
  const call = make("div");
  let searching = new AbortController();
  const search = async (box) => {
    image.box = box;
    searching.abort();
    searching = new AbortController();
    const asked = AbortSignal.any([searching.signal, left]);
    call.replaceChildren(imageCall(view, box, image.name, image.blob.type));
    results.replaceChildren(headOfResults(), emptyGrid(view.count));
    try {
      const answer = await service.neighboursOfImage(view, image, box, asked);
      if (!asked.aborted) await showNeighbours(results, answer);
    } catch (error) {
      if (!asked.aborted) results.replaceChildren(problem(error, view, retry));
    }
  };
  const editor = new BoxEditor(image, search);
  const turned = image.turned ? make("p", { className: "help" }, "The camera marked this photo as rotated, so the page turned it upright.") : null;
  const head = make("div", { className: "head" }, make("h1", { tabIndex: -1 }, "Your image"), editor.element, turned);
  show(make("section", { className: "subject", "aria-label": "Your image" }, head, make("div", { className: "more" }, call)), results);
  await search(image.box);
}

// --- the nearest logos -----------------------------------------------------------------------------------------------

const mayHaveMap = () => status?.map_points !== 0; // true until the status is known
const headOfResults = () => resultsHead(view, mayHaveMap(), (count) => goTo({ count }));

async function showNeighbours(results, rows) {
  if (!rows.length || view.show === "map") await looked;
  if (!rows.length) {
    results.replaceChildren(emptiness(status) ?? notice("No other logo", "The index holds no other logo to compare with."));
    return;
  }
  results.replaceChildren(headOfResults());
  say(rows.length === 1 ? "One nearest logo" : `${rows.length} nearest logos`);
  if (view.show === "map" && status?.map_points) await showMap(results, view.logo, rows);
  else results.append(neighbourGrid(rows, view));
}

async function showMap(place, id, rows) {
  if (!status.map_points) {
    place.append(noMap(status));
    return;
  }
  const asked = asking.signal;
  try {
    const { LogoMap } = await import("./map.js");
    logoMap ??= new LogoMap((logo) => write({ ...view, logo, image: null }), goToLogo);
    if (asked.aborted) return;
    place.append(logoMap.element);
    const key = mapKey();
    if (logoMap.of !== key) {
      const found = await service.map(view.index);
      if (asked.aborted) return;
      logoMap.set(found);
      logoMap.of = key;
    }
    logoMap.highlight(id, rows);
  } catch (error) {
    if (asked.aborted) return;
    logoMap?.element.remove();
    place.append(problem(error, view, retry));
  }
}

const mapKey = () => `${status.index} ${status.generation} ${status.map_points}`;

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
  showFacts(at("facts"), status);
  for (const tabs of main.querySelectorAll(".tabs")) tabs.hidden = !mayHaveMap();
  const names = status?.indexes ?? [];
  at("index-choice").hidden = names.length < 2;
  at("index").replaceChildren(...names.map((name) => make("option", { value: name, selected: name === status.index }, name)));
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
  await render();
}

async function random() {
  const from = view;
  try {
    const logo = await service.randomLogo(view.index);
    if (view !== from) return; // the user has opened another view
    if (logo === null) goTo({ logo: null, image: null });
    else goToLogo(logo);
  } catch (error) {
    if (view === from) showOnly(problem(error, view, retry));
  }
}

async function take(file) {
  if (file.type && !file.type.startsWith("image/")) return showOnly(notice("This is not an image", file.name, { bad: true }));
  const number = String(++taken);
  try {
    const { PickedImage } = await import("./picked_image.js");
    images.set(number, await PickedImage.from(file));
    if (images.size > KEPT_IMAGES) forgetImage(images.keys().next().value);
  } catch (error) {
    if (error instanceof DOMException) return showOnly(notice("The image cannot be read", file.name, { bad: true }));
    return showOnly(problem(error, view, retry));
  }
  goTo({ image: number, logo: null });
}

function forgetImage(number) {
  URL.revokeObjectURL(images.get(number).url);
  images.delete(number);
}

// --- the start -------------------------------------------------------------------------------------------------------

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  goToLogo(at("logo-id").value.trim());
});
at("random").addEventListener("click", random);
at("index").addEventListener("change", () => goTo({ index: at("index").value }));
setInterval(lookAgain, LOOK_AGAIN);
import("./image_entry.js").then(({ watchForImages }) => watchForImages(at("choose"), at("file"), at("drop"), take));

await render();
