// Groups of logos that are nearly the same: keep all of a group, or delete those that are one too many.

import { make, say, whole } from "./elements.js";
import { logoGrid } from "./neighbours.js";
import { notice, problem } from "./notices.js";
import { distanceText, scaleBar, scaleOf } from "./scale.js";
import { clear, select } from "./selection.js";
import * as service from "./service.js";

const GROUPS = 100;
const MOST_GROUPS = 500; // that the service returns at once
const keptKey = (index) => `kept ${index ?? ""}`;

export async function showDuplicates(page) {
  const { view } = page;
  const asked = page.signal;
  const told = make("p", { className: "state" }, "\u00a0");
  const place = make("section", { className: "groups", "aria-label": "Groups" });
  page.show(make("div", { className: "value" }, make("h1", { tabIndex: -1 }, "Duplicates"), told, place));
  try {
    const kept = keptGroups(view.index);
    await page.looked();
    const [found, scale] = await Promise.all([service.duplicates(view.within, Math.min(GROUPS + kept.size, MOST_GROUPS), view.index), scaleOf(view.index, page.status?.generation), page.named()]);
    if (asked.aborted) return;
    page.offer({
      compare: (ids) => page.goTo({ logo: ids[0], with: ids[1], duplicates: false }),
      delete: found.deletable ? (ids) => remove(page, ids, place) : null,
    });
    const groups = found.groups.map(({ logo_ids: ids, distance }) => ({ ids: ids.map(String), distance })).filter(({ ids }) => !kept.has(ids.join()));
    const compared = page.status && found.logos_compared < page.status.logos_indexed ? ` A sample of ${whole(found.logos_compared)} logos was compared with all.` : "";
    const more = found.total > found.count ? ` The largest ${whole(found.count)} are shown.` : "";
    told.textContent = `${found.total === 1 ? "1 group" : `${whole(found.total)} groups`} of logos nearer than ${distanceText(found.max_distance)}, the largest first.${more}${compared}`;
    if (scale) place.append(chooser(page, scale, found));
    if (!groups.length) place.append(notice(found.count ? "All groups are kept" : "No duplicates", "No two logos are that near each other, or you have kept them."));
    for (const group of groups) place.append(groupOf(page, group, found.deletable));
  } catch (error) {
    if (asked.aborted) return;
    if (error.status === 404) place.replaceChildren(notice("Duplicates are not known yet", error.description, { command: "python manage.py generate-index" }));
    else page.showOnly(problem(error, view, page.retry));
  }
}

// Chooses the largest distance of a duplicate.
function chooser(page, scale, found) {
  const bar = scaleBar({ ...scale, far: found.cut_off }, found.groups.map(({ distance }) => distance), page.view.within, () => {}, (within) => page.goTo({ within }));
  bar.querySelectorAll(".end")[1].textContent = "Nearly alike";
  return bar;
}

function groupOf(page, { ids, distance }, deletable) {
  const grid = logoGrid(ids.map((id) => ({ id })), page.view, { label: `Logos like ${ids[0]}` });
  const button = (text, act) => make("button", { type: "button", className: "quiet", onclick: act }, text);
  const element = make("section", { className: "group", "aria-label": `${ids.length} logos like ${ids[0]}` });
  const keep = button("Keep all", () => {
    keepGroup(page.view.index, ids);
    const next = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    (next?.querySelector("button.quiet") ?? document.querySelector("main h1")).focus();
    say("Kept");
  });
  const rest = button("Select all but the first", () => {
    clear();
    select([...grid.children].slice(1));
  });
  element.append(make("div", { className: "group-head" }, make("h2", {}, `${ids.length} logos up to ${distanceText(distance)} apart`), keep, ...(deletable ? [rest] : [])), grid);
  return element;
}

async function remove(page, ids, place) {
  const which = ids.length === 1 ? "this logo" : `these ${ids.length} logos`;
  if (!confirm(`Delete ${which} for good? Their names go with them.`)) return;
  try {
    const deleted = await service.deleteLogos(ids, page.view.index);
    service.forget();
    say(`${deleted} deleted`);
    page.retry();
  } catch (error) {
    place.querySelector(".refused")?.remove();
    place.prepend(make("p", { className: "refused", role: "alert" }, `Nothing was deleted: ${error.message}`));
  }
}

function keptGroups(index) {
  try {
    return new Set(JSON.parse(localStorage.getItem(keptKey(index)) ?? "[]"));
  } catch {
    return new Set();
  }
}

function keepGroup(index, ids) {
  try {
    localStorage.setItem(keptKey(index), JSON.stringify([...keptGroups(index), ids.join()]));
  } catch {
    // storage is disabled: it is kept until the page is left
  }
}
