// The view, and its form in the address: `?logo=1003&count=48&index=NAME&show=map`, or `?image=1` for an image that only
// this tab has.

export const COUNTS = [12, 24, 48, 96, 192, 499];
const DEFAULT_COUNT = 24;
const MAX_COUNT = 499; // the service returns at most 500, including the logo itself

export function read(search) {
  const asked = new URLSearchParams(search);
  const logo = (asked.get("logo") ?? "").trim().replace(/^0+(?=\d)/, ""); // without leading zeros, like the ids in answers
  return {
    logo: logo || null,
    image: asked.get("image"),
    count: Math.min(Math.max(Number.parseInt(asked.get("count"), 10) || DEFAULT_COUNT, 1), MAX_COUNT),
    index: asked.get("index") || null,
    show: asked.get("show") === "map" ? "map" : "pictures",
  };
}

export function write(view) {
  const words = new URLSearchParams();
  if (view.logo) words.set("logo", view.logo);
  else if (view.image) words.set("image", view.image);
  if (view.count !== DEFAULT_COUNT) words.set("count", view.count);
  if (view.index) words.set("index", view.index);
  if (view.show === "map" && (view.logo || view.image)) words.set("show", "map");
  const search = words.toString();
  return search ? `?${search}` : "./";
}
