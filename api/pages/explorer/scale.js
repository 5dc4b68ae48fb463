// What a distance means: a bar from the same picture to as far apart as any two logos are, as the build measured it.

import { make, whole } from "./elements.js";
import * as service from "./service.js";

const STEPS = 200; // of the slider: half a percent of the bar each, less than a tile's distance tells apart

const kept = new Map(); // index -> promise of the scale

// Returns the scale of an index: `{far, percentiles}`; null if its build measured none.
export function scaleOf(index, generation) {
  const key = `${index} ${generation}`;
  if (!kept.has(key)) {
    const asked = service.distances(index).then(
      (found) => (found?.any_two.length ? { far: found.any_two[50], percentiles: found.any_two } : null),
      () => null,
    );
    kept.set(key, asked);
    asked.then((scale) => scale || kept.delete(key)); // a build publishes an index before it measures it
  }
  return kept.get(key);
}

export function distanceText(distance) {
  return distance < 100 ? distance.toFixed(2) : distance.toFixed(0);
}

// Says in words how near a distance is.
export function nearness({ percentiles, far }, distance) {
  if (distance < 0.02 * far) return "nearly the same picture";
  const nearer = percentiles.findIndex((of) => of >= distance);
  if (nearer === 0) return "nearer than any two logos of the sample";
  if (nearer < 0) return "farther than any two logos of the sample";
  return `nearer than ${100 - nearer} % of pairs of logos`;
}

// Returns a bar that is as long as a distance.
export function distanceBar(scale, distance) {
  const length = make("i");
  length.style.width = `${Math.min(100, (100 * distance) / scale.far)}%`;
  return make("span", { className: "length", title: nearness(scale, distance) }, length);
}

// Returns the bar with a tick for each distance and a slider for the largest one that is shown. `chosen` is called with the
// cut-off when it changes, or null for none; `moved` while it moves.
export function scaleBar(scale, distances, within, moved, chosen) {
  const end = Math.max(scale.far, ...distances);
  const share = (distance) => `${(100 * distance) / end}%`;
  const step = end / STEPS;
  const told = make("output", { className: "told" });
  // In whole numbers: browsers round the end down to the last step that floating point reaches, and hid the farthest.
  const value = within === null ? STEPS : Math.round(within / step);
  const slider = make("input", { type: "range", min: 0, max: STEPS, step: 1, value, "aria-label": "Largest distance" });
  const cutOff = () => (Number(slider.value) >= STEPS ? null : Number((slider.value * step).toPrecision(3)));
  const tell = () => {
    const cut = cutOff();
    const shown = distances.filter((distance) => cut === null || distance <= cut).length;
    told.textContent = cut === null ? "All shown" : `${whole(shown)} of ${whole(distances.length)} within ${distanceText(cut)}`;
    slider.setAttribute("aria-valuetext", told.textContent);
    moved(cut);
  };
  slider.addEventListener("input", tell);
  slider.addEventListener("change", () => chosen(cutOff()));
  const ticks = distances.map((distance) => {
    const tick = make("i");
    tick.style.left = share(distance);
    return tick;
  });
  const track = make("div", { className: "ticks", "aria-hidden": "true" }, ...ticks);
  if (end > scale.far) {
    const usual = make("b", { title: "as far as any two logos" });
    usual.style.left = share(scale.far);
    track.append(usual);
  }
  tell();
  return make(
    "div",
    { className: "scale" },
    make("span", { className: "end" }, "Same picture"),
    make("div", { className: "track" }, track, slider),
    make("span", { className: "end" }, "As far as any two logos"),
    told,
  );
}
