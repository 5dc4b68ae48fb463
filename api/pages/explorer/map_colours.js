// The colours of the map: the most frequent values of an attribute, a grey for the others, and a legend that filters.

import { make, whole } from "./elements.js";

// Twelve colours that lie far apart for people with any kind of colour blindness, found by a farthest-point search over
// sRGB; tests/browser/test_explorer_colours.py measures them.
export const PALETTE = ["#8900FF", "#009D62", "#C47600", "#9D0014", "#9D89FF", "#3BEB89", "#C4EB00", "#B176B1", "#3B149D", "#FFC4FF", "#76143B", "#622776"];
export const OTHERS = PALETTE.length; // the class of a logo with another value
export const NONE = OTHERS + 1; // of one without a value

// Returns the class of each point: the place of its colour, `OTHERS` or `NONE`.
export const classesOf = (ofLogos) => Uint8Array.from(ofLogos, (place) => (place < 0 ? NONE : Math.min(place, OTHERS)));

export const LIGHTER = 0.3; // share of white that makes the dark colours visible on a dark ground

// Returns a colour for each class, as the painter writes it: 0xBBGGRR; `grey` is that of logos without a colour.
export function inks(grey, isDark) {
  const pack = ([red, green, blue]) => (blue << 16) | (green << 8) | red;
  const colours = PALETTE.map((hex) => {
    const rgb = Number.parseInt(hex.slice(1), 16);
    return [rgb >> 16, (rgb >> 8) & 255, rgb & 255].map((part) => (isDark ? Math.round(part + LIGHTER * (255 - part)) : part));
  });
  return Uint32Array.from([...colours, grey, grey].map(pack));
}

// Returns the buttons of the legend; `toggled` is called with the set of the classes that are shown, or null for all.
export function colourLegend(values, unnamed, toggled) {
  const chosen = new Set();
  const others = values.slice(OTHERS).reduce((sum, { logos }) => sum + logos, 0);
  const entries = values.slice(0, OTHERS).map(({ value, logos }, place) => ({ text: value, logos, place, colour: PALETTE[place] }));
  if (others) entries.push({ text: "other names", logos: others, place: OTHERS });
  if (unnamed) entries.push({ text: "no name", logos: unnamed, place: NONE });
  const buttons = entries.map(({ text, logos, place, colour }) => {
    const dot = make("i", { className: "dot" });
    if (colour) dot.style.background = `light-dark(${colour}, color-mix(in srgb, ${colour}, #fff ${100 * LIGHTER}%))`;
    const button = make("button", { type: "button", className: "quiet", "aria-pressed": "false", title: `${text}: ${whole(logos)} on the map` }, dot, make("span", { className: "text" }, text), make("span", { className: "note" }, whole(logos)));
    button.addEventListener("click", () => {
      if (!chosen.delete(place)) chosen.add(place);
      button.setAttribute("aria-pressed", String(chosen.has(place)));
      toggled(chosen.size ? new Set(chosen) : null);
    });
    return button;
  });
  return make("div", { className: "colours", role: "group", "aria-label": "Show only" }, ...buttons);
}
