// The grid of logos: pictures with names and distances. The arrow keys move the focus.

import { elsewhere, write } from "./address.js";
import { link, make } from "./elements.js";
import { areNamed, nameNow, nameOf } from "./names.js";
import { cropOf, provenanceOf } from "./pictures.js";
import { distanceBar, distanceText } from "./scale.js";
import { watchSelection } from "./selection.js";

const ON_SCREEN = 48; // pictures that a large screen shows

// `rows` are `{id, distance}`, or `{id}`; `scale` says what a distance means.
export function logoGrid(rows, view, { scale = null, label = "Logos" } = {}) {
  const grid = make("ol", { className: "grid", onkeydown: moveFocus, "aria-label": label });
  for (const row of rows) grid.append(item(row, view, scale));
  watchSelection(grid);
  Promise.all(rows.map(({ id }) => provenanceOf(id))).then(
    (seen) => rows.length && !seen.some(Boolean) && withoutPictures(grid),
    () => {}, // each tile says it
  );
  const failed = [];
  grid.addEventListener("error", (event) => tellOfPhoto(grid, failed, event.target), { capture: true });
  return grid;
}

function item({ id, distance }, view, scale) {
  const far = distance === undefined ? null : distanceText(distance);
  const bar = scale && far !== null ? distanceBar(scale, distance) : null;
  const tile = link(
    write(elsewhere(view, { logo: id })),
    { className: "tile", "data-logo": id },
    cropOf(id),
    bar,
    make("span", { className: "name" }),
    make("span", { className: "label" }, far === null ? null : make("span", { className: "distance" }, far), make("span", { className: "id" }, id)),
  );
  const li = make("li", { className: "item" }, tile);
  if (distance !== undefined) li.dataset.distance = distance;
  nameOf(id).then(
    () => showName(li),
    () => showName(li),
  );
  showName(li);
  return li;
}

// Marks the logos that have a name.
export function markSame(grid, name) {
  grid.dataset.same = name ?? "";
  for (const li of grid.children) showName(li);
}

// Shows the name of a logo as it is known now.
export function showName(li) {
  const tile = li.querySelector(".tile");
  const id = tile.dataset.logo;
  const name = nameNow(id);
  const guess = name === null ? li.dataset.guess : null;
  const place = tile.querySelector(".name");
  place.textContent = name ?? guess ?? (areNamed() ? "no name" : "");
  place.classList.toggle("none", name === null);
  place.title = guess ? "What its neighbours say" : (name ?? "");
  const same = li.parentElement?.dataset.same;
  li.classList.toggle("same", name !== null && name === same);
  const words = [`Logo ${id}`, name ?? (guess ? `perhaps ${guess}` : areNamed() ? "without a name" : null), li.dataset.distance && `distance ${distanceText(Number(li.dataset.distance))}`];
  tile.setAttribute("aria-label", words.filter(Boolean).join(", "));
}

addEventListener("nameschange", ({ detail }) => {
  for (const li of document.querySelectorAll(".grid .item")) if (detail.ids.has(li.querySelector(".tile").dataset.logo)) showName(li);
});

// Returns a placeholder of the grid, shown until the answer arrives.
export function emptyGrid(count) {
  const frames = Array.from({ length: Math.min(count, ON_SCREEN) }, () => make("span", { className: "crop loading" }));
  return make("div", { className: "grid", "aria-hidden": "true" }, ...frames);
}

// Shows ids and names alone, and says why.
function withoutPictures(grid) {
  grid.classList.add("bare");
  grid.before(make("p", { className: "help" }, "There are no pictures: these logos were added without the address of a photo."));
}

// Tells once above the grid which photos cannot be shown here: they may still open in a tab of their own.
async function tellOfPhoto(grid, failed, image) {
  const id = image.closest(".tile")?.dataset.logo;
  const seen = id && (await provenanceOf(id).catch(() => null));
  if (!seen) return;
  failed.push(seen);
  grid.told ??= make("p", { className: "help" });
  const hosts = [...new Set(failed.map(({ host }) => host))].join(", ");
  const photos = failed.length === 1 ? "One photo" : `${failed.length} photos`;
  grid.told.replaceChildren(
    `${photos} at ${hosts} cannot be shown. `,
    make("a", { className: "source", href: failed[0].url, target: "_blank", rel: "noopener noreferrer" }, failed.length === 1 ? "Open it" : "Open one"),
  );
  if (!grid.told.isConnected) grid.before(grid.told);
}

export function columnsOf(tiles) {
  return tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
}

function moveFocus(event) {
  const tiles = [...event.currentTarget.querySelectorAll(".item:not([hidden]) .tile")];
  const at = tiles.indexOf(document.activeElement);
  const columns = columnsOf(tiles);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (at < 0 || !step || event.ctrlKey || event.metaKey || event.altKey) return;
  const next = tiles[at + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
