// The start: what the page is for, the latest queries, and all logos: on a map, or as pictures if they are few.

import { write } from "./address.js";
import { link, make } from "./elements.js";
import { logoGrid } from "./neighbours.js";
import { areNamed, attributeShown, complete } from "./names.js";
import { emptiness, FEWEST_ON_A_MAP, problem } from "./notices.js";
import { latest } from "./recent.js";
import { showMap } from "./results.js";
import * as service from "./service.js";

export async function showStart(page) {
  const queries = latest(page.view.index);
  const start = make(
    "section",
    { className: "subject start" },
    make("h1", { tabIndex: -1 }, "Which logos look alike?"),
    make("p", {}, "Find a logo by its id or its name, take a random one, or use an image of your own: choose it, paste it or its address, or drop it anywhere on this page."),
    queries.length ? make("section", { className: "queries" }, make("h2", {}, "Your latest queries"), make("ul", {}, ...queries.map(({ title, address }) => make("li", {}, link(address, {}, title))))) : null,
  );
  const beside = make("div", { className: "results" });
  page.show(start, beside);
  const asked = page.signal;
  await page.looked();
  if (asked.aborted) return;
  const { status, trouble, view, retry } = page;
  if (trouble) return beside.replaceChildren(problem(trouble, view, retry));
  const broken = status.error && !status.logos_indexed && new service.ServiceError(503, service.INDEX_UNAVAILABLE, status.error);
  const instead = broken ? problem(broken, view, retry) : emptiness(status);
  if (instead) return beside.replaceChildren(instead);
  addNames(page, start, asked);
  if (status.map_points || status.logos_stored >= FEWEST_ON_A_MAP) return showMap(page, beside, null, []);
  try {
    const ids = await service.storedLogos(view.index);
    if (asked.aborted) return;
    beside.append(make("h2", { className: "all" }, ids.length === 1 ? "The only logo" : `All ${ids.length} logos`), logoGrid(ids.map((id) => ({ id })), view, { label: "All logos" }));
  } catch (error) {
    if (!asked.aborted) beside.replaceChildren(problem(error, view, retry));
  }
}

// Shows the most frequent names, as links to their logos.
async function addNames(page, start, asked) {
  await page.named();
  if (asked.aborted || !areNamed()) return;
  const values = await complete("", 12).catch(() => []);
  if (asked.aborted || !values.length) return;
  const title = attributeShown() === "value" ? "Names" : `Names: ${attributeShown()}`;
  const links = values.map(({ value, logos }) => make("li", {}, link(write({ ...page.view, value }), {}, value), ` ${logos}`));
  start.append(make("section", { className: "names" }, make("h2", {}, title), make("ul", {}, ...links)));
}
