// The view, and its form in the address: `?logo=1003&count=48&index=NAME&show=map`, `?logo=1003&with=1005` to compare,
// `?value=acme&by=brand`, `?url=https://...`, `?duplicates=1`, or `?image=1` for an image that only this tab has.

export const COUNTS = [12, 24, 48, 96, 192, 499];
const DEFAULT_COUNT = 24;
const MAX_COUNT = 499; // the service returns at most 500, including the logo itself

const idIn = (text) => (text ?? "").trim().replace(/^0+(?=\d)/, "") || null; // without leading zeros, like the ids in answers

export const isId = (text) => /^\d{1,19}$/.test(text);
export const isAddress = (text) => /^https?:\/\/\S+$/i.test(text);

export function read(search) {
  const asked = new URLSearchParams(search);
  const within = Number.parseFloat(asked.get("within"));
  return {
    logo: idIn(asked.get("logo")),
    with: idIn(asked.get("with")),
    value: asked.get("value") || null,
    url: asked.get("url") || null,
    image: asked.get("image"),
    duplicates: asked.has("duplicates"),
    count: Math.min(Math.max(Number.parseInt(asked.get("count"), 10) || DEFAULT_COUNT, 1), MAX_COUNT),
    index: asked.get("index") || null,
    by: asked.get("by") || null,
    within: within > 0 ? within : null,
    show: asked.get("show") === "map" ? "map" : "pictures",
  };
}

// A view of something else: what is shown is left, how it is shown stays.
export const elsewhere = (view, changes) => ({ ...view, logo: null, with: null, value: null, url: null, image: null, duplicates: false, ...changes });

export function kindOf(view) {
  if (view.logo) return view.with ? "compare" : "logo";
  if (view.value) return "value";
  if (view.url || view.image) return "image";
  return view.duplicates ? "duplicates" : "start";
}

export function write(view) {
  const words = new URLSearchParams();
  const kind = kindOf(view);
  for (const name of { compare: ["logo", "with"], logo: ["logo"], value: ["value"], image: [view.url ? "url" : "image"] }[kind] ?? []) words.set(name, view[name]);
  if (kind === "duplicates") words.set("duplicates", 1);
  if (view.count !== DEFAULT_COUNT) words.set("count", view.count);
  if (view.index) words.set("index", view.index);
  if (view.by) words.set("by", view.by);
  if (view.within && kind !== "start") words.set("within", view.within);
  if (view.show === "map" && ["logo", "image"].includes(kind)) words.set("show", "map");
  const search = words.toString();
  return search ? `?${search}` : "./";
}
