// The strip of facts about the index: its number of logos, age and recall.

import { make, whole } from "./elements.js";

const STEPS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export function age(seconds) {
  const words = new Intl.RelativeTimeFormat("en", { numeric: "always" });
  const [unit, length] = STEPS.find(([, length]) => seconds >= length) ?? [null, 1];
  return unit ? words.format(-Math.floor(seconds / length), unit) : "just now";
}

const share = (x) => `${(Math.floor(x * 1000) / 10).toFixed(1)} %`;

export function showFacts(list, status) {
  list.replaceChildren();
  if (!status) return;
  const add = (name, value, title, kind = "") =>
    list.append(make("div", { title, className: kind }, make("dt", {}, name), make("dd", {}, value)));
  if (status.error) add(status.logos_indexed ? "newer index" : "index", "damaged", status.error, "bad");
  add("logos", whole(status.logos_indexed), `In the index ${status.index}`);
  if (status.logos_waiting)
    add("not yet indexed", whole(status.logos_waiting), "Stored logos that the next generate-index adds to the index");
  if (status.built_at) {
    const time = make("time", { dateTime: status.built_at }, age(status.age_seconds));
    add("built", time, new Date(status.built_at).toLocaleString("en-GB"));
  }
  if (status.recall) {
    const { at_10: of10, at_100: of100 } = status.recall;
    add("recall", `${share(of10)} of the nearest 10, ${share(of100)} of 100`, "Share of the true nearest logos that the index finds, measured when it was built");
  }
  if (!status.keeps_provenance)
    add("pictures", "none kept: see manage.py compact", "An earlier release made this store, without room for the photos of logos");
  add("model", status.model, "The network that made the vectors");
  if (status.distances) {
    const { alike, different } = status.distances;
    const scale = `alike below ${alike.toFixed(2)}, different above ${different.toFixed(2)}`;
    add("distances", scale, "99 % of different logos are farther apart than the first value; 95 % of crops of the same logo are closer than the second", "roomy");
  }
}
