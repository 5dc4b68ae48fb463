// Selecting logos of the page: by a click on the corner of a tile, then on any tile; with Shift up to another one; with the
// keyboard by Space, Shift and arrows, Ctrl and A; Escape ends it. The bar of the selection comes when something is selected.

import { make, say } from "./elements.js";

const selected = new Set(); // the items of the grids, in the order in which they were selected
let last = null; // where a range begins
let bar = null;
let opened = {}; // what the view that is shown offers: {suggestion, compare, delete}

export const viewNow = () => opened;

const itemsOf = (grid) => [...grid.querySelectorAll(".item:not([hidden])")];
export const selectedIds = () => [...new Set([...selected].filter((li) => li.isConnected).map((li) => li.querySelector(".tile").dataset.logo))];

export function watchSelection(grid) {
  for (const li of grid.querySelectorAll(".item")) {
    const id = li.querySelector(".tile").dataset.logo;
    const box = make("button", { type: "button", className: "pick", role: "checkbox", "aria-checked": "false", "aria-label": `Select logo ${id}`, tabIndex: -1 });
    box.addEventListener("click", (event) => pick(li, event.shiftKey));
    li.prepend(box);
  }
  grid.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || event.button !== 0 || event.ctrlKey || event.metaKey || (!event.shiftKey && !selected.size)) return;
    event.preventDefault();
    event.stopPropagation();
    pick(tile.parentElement, event.shiftKey);
  });
  grid.addEventListener("keydown", (event) => {
    const li = event.target.closest(".item");
    if (!li) return;
    if (event.key === " ") {
      event.preventDefault();
      pick(li, event.shiftKey);
    } else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      select(itemsOf(grid));
    } else if (event.key === "Escape" && selected.size) {
      event.preventDefault();
      clear();
    } else if (event.shiftKey && event.key.startsWith("Arrow")) {
      queueMicrotask(() => {
        const now = document.activeElement.closest(".item"); // the grid has moved the focus
        if (now && now !== li) select([li, now]);
      });
    }
  });
}

function pick(li, ranged) {
  const items = itemsOf(li.closest(".grid"));
  const from = items.indexOf(last);
  const to = items.indexOf(li);
  if (ranged && from >= 0) return select(items.slice(Math.min(from, to), Math.max(from, to) + 1));
  mark(li, !selected.has(li));
  last = li;
  changed();
}

export function select(items) {
  for (const li of items) mark(li, true);
  last = items.at(-1) ?? last;
  changed();
}

export function clear() {
  for (const li of [...selected]) mark(li, false);
  last = null;
  changed();
}

// Another view is shown: what was selected in the one before is forgotten.
export function beginView(view) {
  opened = view;
  selected.clear();
  last = null;
  document.body.classList.remove("selecting");
  bar?.end();
}

// Forgets the tiles that were replaced by others.
export function forgetGone() {
  for (const li of [...selected]) if (!li.isConnected) selected.delete(li);
  if (!last?.isConnected) last = null;
  if (bar) changed();
}

// Takes from the selection what a cut-off has hidden.
export function dropHidden() {
  for (const li of [...selected]) if (li.hidden) mark(li, false);
  changed();
}

function mark(li, on) {
  if (on) selected.add(li);
  else selected.delete(li);
  li.classList.toggle("selected", on);
  li.querySelector(".pick").setAttribute("aria-checked", String(on));
}

export const visibleItems = () => [...document.querySelectorAll(".grid .item:not([hidden])")];

async function changed() {
  document.body.classList.toggle("selecting", selected.size > 0);
  const ids = selectedIds();
  if (ids.length) say(ids.length === 1 ? "One logo selected" : `${ids.length} logos selected`);
  if (!bar && ids.length) ({ bar } = await import("./naming.js"));
  bar?.show(selectedIds());
}
