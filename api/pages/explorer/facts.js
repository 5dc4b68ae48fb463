// The strip of facts about the index: how many logos are in it, how old it is, and how much it finds.

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

const percent = (share) => `${Math.floor(share * 1000) / 10} %`;

// `named` is the number of logos that have a name.
export function showFacts(list, status, named) {
  list.replaceChildren();
  if (!status) return;
  const add = (text, title, kind = "") => list.append(make("li", { title, className: kind }, text));
  const bold = (text) => make("strong", {}, text);
  const told = (...parts) => make("span", {}, ...parts);
  if (status.error) add(status.logos_indexed ? "The newer index is damaged" : "The index is damaged", status.error, "bad");
  const { logos_indexed: indexed, logos_waiting: left, logos_stored: stored } = status;
  if (left) add(told(bold(`${whole(stored - left)} of ${whole(stored)}`), " logos indexed"), "The other ones are stored; the next generate-index adds them to the index");
  else add(told(bold(whole(indexed)), " logos indexed"), `In the index ${status.index}`);
  if (named) add(told(bold(whole(named)), " named"), "Logos that have a name", "roomy");
  if (status.built_at) {
    const time = make("time", { dateTime: status.built_at }, age(status.age_seconds));
    add(told("built ", time), new Date(status.built_at).toLocaleString("en-GB"));
  }
  if (status.recall) add(told("finds ", bold(percent(status.recall.at_10)), " of the true nearest 10"), `And ${percent(status.recall.at_100)} of the nearest 100, as the build measured`, "roomy");
  if (!status.keeps_provenance) add("no photos are kept: see manage.py compact", "An earlier release made this store, without room for the photos of logos", "roomy");
}
