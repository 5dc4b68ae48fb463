// The controls above the nearest logos: how many to show, and whether as pictures or on the map.

import { COUNTS, write } from "./address.js";
import { link, make, whole } from "./elements.js";

export function resultsHead(view, hasMap, choose, title = "Nearest logos") {
  const choices = [...new Set([...COUNTS, view.count])].sort((a, b) => a - b);
  const select = make(
    "select",
    { id: "count", onchange: () => choose(Number(select.value)) },
    ...choices.map((count) => make("option", { value: count, selected: count === view.count }, whole(count))),
  );
  const tab = (show, text) => link(write({ ...view, show }), { "aria-current": view.show === show ? "page" : null }, text);
  const tabs = make("nav", { className: "tabs", hidden: !hasMap, "aria-label": "View" }, tab("pictures", "Pictures"), tab("map", "Map"));
  return make(
    "div",
    { className: "results-head" },
    make("h2", {}, title),
    make("label", { className: "select" }, make("span", { className: "hidden" }, "How many"), select),
    tabs,
  );
}
