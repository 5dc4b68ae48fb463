// The nearest logos, as pictures with a scale of distances, or on the map.

import { make, say } from "./elements.js";
import { logoGrid, markSame } from "./neighbours.js";
import { emptiness, noMap, notice, problem } from "./notices.js";
import { resultsHead } from "./results_head.js";
import { scaleBar, scaleOf } from "./scale.js";
import { dropHidden } from "./selection.js";
import * as service from "./service.js";
import { write } from "./address.js";

let logoMap = null;

export const headOfResults = (page, title) => resultsHead(page.view, page.mayHaveMap(), (count) => page.goTo({ count }), title);

// Returns the buttons that download what is shown.
export function takeButtons(page, rows) {
  const button = (kind) => make("button", { type: "button", className: "quiet", onclick: () => takeAway(page, rows, kind) }, kind.toUpperCase());
  return make("p", { className: "take" }, "Download this list as ", button("csv"), " ", button("json"));
}

async function takeAway({ view }, rows, kind) {
  const { takeAway: take } = await import("./take_away.js");
  const within = rows.filter(({ distance }) => !view.within || distance === undefined || distance <= view.within);
  await take(within, kind, view.logo ? `logos-like-${view.logo}` : view.value ? "logos" : "logos-like-an-image");
}

// Shows rows `{id, distance}` in `place`: the nearest to logo `id`, or to an image if it is null. Returns the grid, if one
// is shown. `same` is a promise of the name that is marked.
export async function showNeighbours(page, place, rows, { id = null, same = null } = {}) {
  if (!rows.length || page.view.show === "map") await page.looked();
  if (!rows.length) {
    place.replaceChildren(emptiness(page.status) ?? notice("No other logo", "The index holds no other logo to compare with."));
    return null;
  }
  say(rows.length === 1 ? "One nearest logo" : `${rows.length} nearest logos`);
  if (page.view.show === "map" && page.status?.map_points) {
    place.replaceChildren(headOfResults(page));
    await showMap(page, place, id, rows.filter(({ distance }) => !page.view.within || distance <= page.view.within));
    return null;
  }
  const scale = await scaleOf(page.view.index, page.status?.generation);
  const grid = logoGrid(rows, page.view, { scale, label: "Nearest logos" });
  same?.then((name) => markSame(grid, name));
  place.replaceChildren(headOfResults(page), ...(scale ? [cutOff(page, grid, rows, scale)] : []), grid, takeButtons(page, rows));
  return grid;
}

// Returns the scale of some rows; its cut-off hides the tiles that are farther.
export function cutOff(page, grid, rows, scale) {
  const hideFar = (cut) => {
    for (const li of grid.children) li.hidden = cut !== null && Number(li.dataset.distance) > cut;
    dropHidden();
  };
  const settle = (within) => {
    page.settle({ within });
  };
  return scaleBar(scale, rows.map(({ distance }) => distance), page.view.within, hideFar, settle);
}

// Shows the map, with logo `id` and its neighbours marked.
export async function showMap(page, place, id, rows) {
  if (!page.status.map_points) {
    place.append(noMap(page.status));
    return;
  }
  const asked = page.signal;
  try {
    const { LogoMap } = await import("./map.js");
    logoMap ??= new LogoMap((logo) => write({ ...page.view, logo, image: null, url: null }), (logo) => page.goToLogo(logo));
    if (asked.aborted) return;
    place.append(logoMap.element);
    const { status, view } = page;
    const key = `${status.index} ${status.generation} ${status.map_points}`;
    if (logoMap.of !== key) {
      const found = await service.map(view.index);
      if (asked.aborted) return;
      logoMap.set(found);
      logoMap.of = key;
    }
    logoMap.highlight(id, rows);
    await page.named();
    if (!asked.aborted) await logoMap.colour(view.index);
  } catch (error) {
    if (asked.aborted) return;
    logoMap?.element.remove();
    place.append(problem(error, page.view, page.retry));
  }
}
