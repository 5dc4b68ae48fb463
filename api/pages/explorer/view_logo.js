// A logo: its picture and photo, its name and what its neighbours say that it is, and its nearest logos.

import { isId } from "./address.js";
import { make } from "./elements.js";
import { attributeShown, nameOf, nameNow } from "./names.js";
import { emptyGrid } from "./neighbours.js";
import { notice, problem } from "./notices.js";
import { headOfResults, showNeighbours } from "./results.js";
import * as service from "./service.js";
import { logoSubject } from "./subject.js";
import { markDeciders, saying } from "./verdict.js";

export async function showLogo(page) {
  const { view } = page;
  if (!isId(view.logo)) return page.showOnly(notice("No such logo", "A logo’s id is a whole number."));
  const named = page.named().then(() => nameOf(view.logo), () => null);
  const { element, told, name, says } = logoSubject(view);
  const results = make("section", { className: "results", "aria-label": "Nearest logos" });
  let guess = null;
  page.show(element, results);
  page.offer({
    suggestion: () => nameNow(view.logo) ?? guess,
    compare: (ids) => page.goTo({ logo: ids[0], with: ids[1] }),
  });
  const asked = page.signal;
  const waiting = setTimeout(() => results.replaceChildren(headOfResults(page), emptyGrid(view.count)), 120);
  try {
    const answer = await service.neighboursOfLogo(view, asked);
    clearTimeout(waiting);
    if (asked.aborted) return;
    told(answer);
    const rows = answer.filter(({ id }) => id !== view.logo).slice(0, view.count);
    const grid = await showNeighbours(page, results, rows, { id: view.logo, same: named });
    if (asked.aborted) return;
    name(await named);
    const verdict = await saying(view.logo, attributeShown(), view.index);
    if (asked.aborted || !verdict) return;
    guess = verdict.value;
    says(verdict, grid ? await markDeciders(grid, verdict) : []);
  } catch (error) {
    clearTimeout(waiting);
    if (asked.aborted) return;
    page.showOnly(problem(error, view, page.retry));
  }
}
