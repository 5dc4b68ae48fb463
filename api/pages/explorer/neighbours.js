// The grid of the nearest logos: pictures with distances. The arrow keys move the focus.

import { write } from "./address.js";
import { link, make } from "./elements.js";
import { cropOf, provenanceOf } from "./pictures.js";

const ON_SCREEN = 48; // pictures that a large screen shows

export function distanceText(distance) {
  return distance < 100 ? distance.toFixed(2) : distance.toFixed(0);
}

export function neighbourGrid(rows, view) {
  const grid = make("ol", { className: "grid", onkeydown: moveFocus });
  for (const { id, distance } of rows) {
    const far = distanceText(distance);
    const tile = link(
      write({ ...view, logo: id, image: null }),
      { className: "tile", "aria-label": `Logo ${id}, distance ${far}`, "data-logo": id },
      cropOf(id),
      make("span", { className: "label" }, make("span", { className: "distance" }, far), make("span", { className: "id" }, id)),
    );
    grid.append(make("li", {}, tile));
    linkPhotoIfBroken(tile, id);
  }
  return grid;
}

// Returns a placeholder of the grid, shown until the answer arrives.
export function emptyGrid(count) {
  const frames = Array.from({ length: Math.min(count, ON_SCREEN) }, () => make("span", { className: "crop loading" }));
  return make("div", { className: "grid", "aria-hidden": "true" }, ...frames);
}

// Adds a link to a photo that cannot be shown here: it may still open in its own tab.
function linkPhotoIfBroken(tile, id) {
  tile.addEventListener(
    "error",
    async () => {
      const seen = await provenanceOf(id);
      const properties = { className: "source", href: seen.url, target: "_blank", rel: "noopener noreferrer" };
      tile.after(make("a", properties, "open photo"));
    },
    { capture: true, once: true },
  );
}

function moveFocus(event) {
  const tiles = [...event.currentTarget.querySelectorAll(".tile")];
  const at = tiles.indexOf(document.activeElement);
  const columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (at < 0 || !step || event.ctrlKey || event.metaKey || event.altKey) return;
  const next = tiles[at + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
