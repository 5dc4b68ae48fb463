// The controls above the nearest logos: how many to show, as pictures or on the map, and how to take them away.

import { COUNTS, write } from "./address.js";
import { link, make, whole } from "./elements.js";

// `choose` takes a count; `taken` downloads what is shown as "csv" or "json".
export function resultsHead(view, hasMap, choose, taken, title = "Nearest logos") {
  const choices = [...new Set([...COUNTS, view.count])].sort((a, b) => a - b);
  const select = make(
    "select",
    { id: "count", onchange: () => choose(Number(select.value)) },
    ...choices.map((count) => make("option", { value: count, selected: count === view.count }, whole(count))),
  );
  const tab = (show, text) => link(write({ ...view, show }), { "aria-current": view.show === show ? "page" : null }, text);
  const tabs = make("nav", { className: "tabs", hidden: !hasMap, "aria-label": "View" }, tab("pictures", "Pictures"), tab("map", "Map"));
  const take = (kind) => make("button", { type: "button", className: "quiet", onclick: () => taken(kind), title: `What is shown, as ${kind.toUpperCase()}` }, kind.toUpperCase());
  return make(
    "div",
    { className: "results-head" },
    make("h2", {}, title),
    make("label", { className: "select" }, make("span", { className: "hidden" }, "How many"), select),
    taken ? make("span", { className: "take" }, take("csv"), take("json")) : null,
    tabs,
  );
}
