// Two logos side by side: their pictures, photos and names, and how far apart they are.

import { elsewhere, isId, write } from "./address.js";
import { link, make } from "./elements.js";
import { nameOf } from "./names.js";
import { notice, problem } from "./notices.js";
import { cropOf, provenanceOf, wholePhotoOf } from "./pictures.js";
import { distanceBar, distanceText, nearness, scaleOf } from "./scale.js";
import * as service from "./service.js";

const FAR = 499; // neighbours that are looked through

export async function showCompare(page) {
  const { view } = page;
  if (![view.logo, view.with].every(isId)) return page.showOnly(notice("No such logo", "A logo’s id is a whole number."));
  const told = make("div", { className: "between" }, "\u00a0");
  const sides = [view.logo, view.with].map((id) => side(page, id));
  page.show(make("div", { className: "compare" }, make("h1", { tabIndex: -1 }, `Logos ${view.logo} and ${view.with}`), told, ...sides));
  page.offer({});
  const asked = page.signal;
  try {
    const pairs = [[view.logo, view.with], [view.with, view.logo]]; // a logo that is not indexed is nobody's neighbour, but has some
    const [one, other] = await Promise.all([...pairs.map(([logo]) => service.neighboursOfLogo({ ...view, logo, count: FAR }, asked)), page.looked()]);
    const rows = one.some(({ id }) => id === view.with) ? one : other;
    const scale = await scaleOf(view.index, page.status?.generation);
    if (asked.aborted) return;
    const found = rows.find(({ id }) => id === (rows === one ? view.with : view.logo));
    if (!found) {
      const least = Math.min(...[one, other].map((near) => near.at(-1)?.distance ?? 0));
      told.textContent = one.length < FAR ? "Their distance is not known: neither of them is in the index." : `Their distance is more than ${distanceText(least)}: ${view.with} is not among the ${FAR} nearest logos.`;
      return;
    }
    const far = scale && make("p", { className: "scale" }, make("span", { className: "end" }, "Same picture"), distanceBar(scale, found.distance), make("span", { className: "end" }, "As far as any two logos"));
    told.replaceChildren(make("p", {}, make("strong", {}, `Distance ${distanceText(found.distance)}`), scale ? `, ${nearness(scale, found.distance)}` : ""), ...(far ? [far] : []));
  } catch (error) {
    if (!asked.aborted) page.showOnly(problem(error, view, page.retry));
  }
}

function side(page, id) {
  const name = make("p", { className: "named" }, "\u00a0");
  const photo = make("div", { className: "more" });
  page.named().then(() => nameOf(id)).then((found) => (name.textContent = found ?? "No name yet"), () => {});
  provenanceOf(id).then((seen) => seen && photo.append(wholePhotoOf(id, seen)), () => {});
  const title = make("h2", {}, link(write(elsewhere(page.view, { logo: id })), {}, `Logo ${id}`));
  return make("section", { className: "side", "aria-label": `Logo ${id}` }, make("div", { className: "large" }, cropOf(id, { ratio: 4 / 3, eager: true })), title, name, photo);
}
