// The query: a logo with its photo, its name, and the API request that finds its neighbours.

import { elsewhere, write } from "./address.js";
import { copy, link, make, say } from "./elements.js";
import { nameNow, rename } from "./names.js";
import { cropOf, provenanceOf, wholePhotoOf } from "./pictures.js";
import * as service from "./service.js";

export function logoSubject(view) {
  const state = make("p", { className: "state" }, "\u00a0");
  const more = make("div", { className: "more" });
  const call = service.queryOfLogo(view);
  provenanceOf(view.logo)
    .then((seen) => seen && more.prepend(wholePhotoOf(view.logo, seen)))
    .catch(() => {}); // the crop shows the error
  more.append(apiCall(call, `curl ${quoted(call)}`, true));
  const named = make("p", { className: "named", hidden: true });
  const verdict = make("div", { className: "verdict", hidden: true });
  const head = make(
    "div",
    { className: "head" },
    make("div", { className: "large" }, cropOf(view.logo, { ratio: 4 / 3, eager: true })),
    make("div", { className: "title" }, make("h1", { tabIndex: -1 }, "Logo ", make("span", { className: "id" }, view.logo)), named, state, verdict),
  );
  const told = (neighbours) => {
    const indexed = neighbours.some(({ id }) => id === view.logo);
    state.textContent = indexed ? "In the index" : "Not yet indexed: searched by its vector";
  };
  const name = (value) => {
    named.hidden = false;
    named.classList.toggle("none", value === null);
    named.replaceChildren(value === null ? "No name yet" : link(write(elsewhere(view, { value })), {}, value));
  };
  const says = (found, deciders) => {
    verdict.hidden = false;
    verdict.replaceChildren(...verdictParts(view, found, deciders));
  };
  addEventListener("nameschange", function changed({ detail }) {
    if (!head.isConnected) return removeEventListener("nameschange", changed);
    if (!detail.ids.has(view.logo)) return;
    name(nameNow(view.logo));
  });
  return { element: make("section", { className: "subject", "aria-label": "This logo" }, head, more), told, name, says };
}

const SHOWN = 4; // deciders

// Says what the neighbours say, with those that decided it, and offers to take their word.
function verdictParts(view, { value, share }, deciders) {
  const percent = `${Math.round(100 * share)} %`;
  const agrees = nameNow(view.logo) === value;
  const words = agrees ? "Its named neighbours agree: " : "Its named neighbours say: ";
  const parts = [make("p", {}, words, make("strong", {}, value), `, ${percent} of their vote`)];
  if (deciders.length) {
    const crops = deciders.slice(0, SHOWN).map((id) => link(write(elsewhere(view, { logo: id })), { "aria-label": `Logo ${id}, which decided it`, title: `Logo ${id}` }, cropOf(id)));
    const more = deciders.length > SHOWN ? make("span", { className: "more-deciders" }, `+${deciders.length - SHOWN}`) : null;
    parts.push(make("p", { className: "deciders" }, ...crops, ...(more ? [more] : [])));
  }
  if (nameNow(view.logo) === null) {
    const button = make("button", { type: "button", className: "quiet" }, `Name it ${value}`);
    const refused = make("p", { className: "refused", role: "alert" });
    let changes = new Map([[view.logo, value]]);
    button.addEventListener("click", async () => {
      button.disabled = true;
      refused.textContent = "";
      try {
        const undone = changes.get(view.logo) === null;
        changes = (await rename(changes)).undo;
        button.textContent = undone ? `Name it ${value}` : "Undo";
        say(undone ? "Undone" : `Named ${value}`);
      } catch (error) {
        refused.textContent = `Nothing was changed: ${error.message}`;
      }
      button.disabled = false;
    });
    parts.push(make("p", {}, button), refused);
  }
  return parts;
}

// Quotes text for a shell.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function imageCall(view, box, name, type) {
  const call = service.queryOfImage(view, box);
  return apiCall(call, `curl ${quoted(call)} -H ${quoted(`Content-Type: ${type}`)} --data-binary ${quoted(`@${name}`)}`, false);
}

export function addressCall(view, box, address) {
  const call = service.addressOf("/from_url", { index: view.index });
  const body = JSON.stringify({ image_url: address, count: view.count, ...(box && { bounding_box: box.map((x) => +x.toFixed(5)) }) });
  return apiCall(call, `curl ${quoted(call)} -H ${quoted("Content-Type: application/json")} -d ${quoted(body)}`, false);
}

function apiCall(call, curl, linked) {
  const shown = call.slice(new URL(call).origin.length);
  const copied = make("button", { type: "button", className: "quiet" }, "Copy as curl");
  const told = async (text) => {
    copied.textContent = text;
    say(text);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    copied.textContent = "Copy as curl";
  };
  const box = make(
    "div",
    { className: "call" },
    make("h2", {}, "API request"),
    linked ? make("a", { href: call, className: "code" }, shown) : make("span", { className: "code" }, `POST ${shown}`),
    make("p", {}, copied),
  );
  copied.addEventListener("click", async () => {
    if (await copy(curl)) return told("Copied");
    // Without access to the clipboard (plain http from another host), show the command, so that the user can copy it.
    const field = make("textarea", { value: curl, readOnly: true, rows: 4, "aria-label": "The command" });
    copied.replaceWith(field);
    field.select();
  });
  return box;
}
