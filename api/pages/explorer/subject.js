// The query: a logo with its photo, and the API request that finds its neighbours.

import { copy, make, say } from "./elements.js";
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
  const head = make(
    "div",
    { className: "head" },
    make("div", { className: "large" }, cropOf(view.logo, { ratio: 4 / 3, eager: true })),
    make("div", { className: "title" }, make("h1", { tabIndex: -1 }, "Logo ", make("span", { className: "id" }, view.logo)), state),
  );
  const told = (neighbours) => {
    const indexed = neighbours.some(({ id }) => id === view.logo);
    state.textContent = indexed ? "In the index" : "Not yet indexed: searched by its vector";
  };
  return { element: make("section", { className: "subject", "aria-label": "This logo" }, head, more), told };
}

// Quotes text for a shell.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function imageCall(view, box, name, type) {
  const call = service.queryOfImage(view, box);
  return apiCall(call, `curl ${quoted(call)} -H ${quoted(`Content-Type: ${type}`)} --data-binary ${quoted(`@${name}`)}`, false);
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
