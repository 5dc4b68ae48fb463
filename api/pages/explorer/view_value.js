// A name: the logos that have it, then the nearest ones that have none, with what their neighbours say of them.

import { make, say, whole } from "./elements.js";
import { areNamed, attributeShown, nameNow } from "./names.js";
import { logoGrid, showName } from "./neighbours.js";
import { notice, problem } from "./notices.js";
import { cutOff, headOfResults, takeButtons } from "./results.js";
import { scaleOf } from "./scale.js";
import { clear, forgetGone, select } from "./selection.js";
import * as service from "./service.js";
import { VOTERS, verdictOf } from "./verdict.js";

const AT_FIRST = 16; // logos of the name; a button shows more
const MORE = 96;

// A candidate is likely if its neighbours give it the name, and it is nearer than this share of the usual Euclidean distance
// of any two logos. In a session on 14 brands of FlickrLogos-27, where five logos of each had names, 524 of 539 logos named
// so were right; without the limit, 480 of 617 (`benchmarks/naming.py`).
const NEAR = 0.8;

export async function showValue(page) {
  const { view } = page;
  const value = view.value;
  const asked = page.signal;
  const told = make("p", { className: "state" }, "\u00a0");
  const head = make("div", { className: "value-head" }, make("h1", { tabIndex: -1 }, value), told);
  const named = make("section", { className: "of-value", "aria-label": `Logos named ${value}` });
  const nearest = make("section", { className: "results", "aria-label": "Nearest logos without a name" });
  page.show(make("div", { className: "value" }, head, named, nearest));
  page.offer({ suggestion: () => value, compare: (ids) => page.goTo({ logo: ids[0], with: ids[1], value: null }) });
  const fill = async () => {
    try {
      await page.named();
      await Promise.all([showNamed(page, named, told), page.looked().then(() => showCandidates(page, nearest))]);
    } catch (error) {
      if (!asked.aborted) page.showOnly(problem(error, view, page.retry));
    }
  };
  addEventListener("nameschange", async function changed() {
    if (!named.isConnected) return removeEventListener("nameschange", changed);
    await fill();
    forgetGone();
  });
  await fill();
}

async function showNamed(page, place, told) {
  const { view, signal } = page;
  const shown = Math.max(AT_FIRST, place.querySelectorAll(".item").length);
  const { ids, total } = await service.logosOfValue(attributeShown(), view.value, Math.min(shown, 499), null, view.index);
  if (signal.aborted) return;
  told.textContent = `${total === 1 ? "1 logo has" : `${whole(total)} logos have`} this ${attributeShown() === "value" ? "name" : attributeShown()}`;
  const grid = (some) => logoGrid(some.map((id) => ({ id })), view, { label: `Logos named ${view.value}` });
  place.replaceChildren(...(ids.length ? [grid(ids)] : []));
  let last = ids.at(-1);
  let left = total - ids.length;
  if (left <= 0) return;
  const more = make("button", { type: "button", className: "quiet" }, `Show more of ${whole(left)}`);
  more.addEventListener("click", async () => {
    const next = await service.logosOfValue(attributeShown(), view.value, MORE, last, view.index);
    last = next.ids.at(-1);
    left -= next.ids.length;
    const added = [...grid(next.ids).children];
    place.querySelector(".grid").append(...added);
    added[0]?.querySelector(".tile").focus();
    if (left > 0) more.textContent = `Show more of ${whole(left)}`;
    else more.remove();
  });
  place.append(more);
}

async function showCandidates(page, place) {
  const { view, signal } = page;
  if (!areNamed()) return place.replaceChildren(notice("No logo has a name yet", "Select logos that look alike, on the page of any of them, and name them. Then this page finds more."));
  const rows = await service.candidates(attributeShown(), view.value, view.count, view.index);
  if (signal.aborted) return;
  if (!rows.length) return place.replaceChildren(notice("No logo without a name is near", "Either the logos near them have names, or no logo has this name."));
  const scale = await scaleOf(view.index, page.status?.generation);
  const grid = logoGrid(rows, view, { scale, label: "Nearest logos without a name" });
  const likely = make("button", { type: "button", hidden: true });
  const rowHead = headOfResults(page, "Nearest without a name");
  rowHead.querySelector(".tabs").replaceWith(likely);
  place.replaceChildren(rowHead, ...(scale ? [cutOff(page, grid, rows, scale)] : []), grid, takeButtons(page, rows));
  say(`${rows.length} logos without a name are near`);
  offerLikely(page, grid, rows, scale, likely).catch(() => {}); // without the votes, one selects by eye
}

// Shows what the neighbours of the candidates say, and offers to select those that they call by this name.
async function offerLikely(page, grid, rows, scale, button) {
  const { view, status } = page;
  const near = scale ? scale.far * (status?.metric === "cosine" ? NEAR ** 2 : NEAR) : Infinity;
  const votes = await service.predictions(rows.map(({ id }) => id), attributeShown(), VOTERS, view.index);
  const likely = [];
  for (const li of grid.children) {
    const id = li.querySelector(".tile").dataset.logo;
    const verdict = votes.has(id) ? verdictOf(votes.get(id)) : null;
    if (!verdict || nameNow(id) !== null) continue;
    const isLikely = verdict.value === view.value && Number(li.dataset.distance) < near;
    li.dataset.guess = isLikely ? `${verdict.value} ${Math.round(100 * verdict.share)} %` : `${verdict.value}?`;
    li.classList.toggle("likely", isLikely);
    showName(li);
    if (isLikely) likely.push(li);
  }
  const visible = () => likely.filter((li) => !li.hidden && li.isConnected);
  button.hidden = !likely.length;
  button.textContent = "Select the likely ones";
  button.title = `Those that are near, and whose named neighbours say ${view.value}`;
  button.addEventListener("click", () => {
    clear();
    select(visible());
  });
}
