// Pictures of logos. The browser loads the photo of a logo from its own host and shows the part inside the logo's box.
// Addresses and boxes come from clients, so only http(s) addresses and boxes of four reasonable numbers are used.

import { make } from "./elements.js";
import { Lookup } from "./lookup.js";
import * as service from "./service.js";
import { layOnSheet, layOut, orientationIn, storedSize } from "./stored_pixels.js";

const provenances = new Lookup(service.provenance, believed);

// Returns the provenance of a logo, or null.
export const provenanceOf = (id) => provenances.get(id);
export const knownProvenanceOf = (id) => provenances.now(id); // undefined if it was not asked for yet
export const usePicturesOf = (index) => provenances.use(index);

async function believed(told) {
  if (!told) return null;
  const box = told.bounding_box;
  const sane = Array.isArray(box) && box.length === 4 && box.every((x) => Number.isFinite(x) && Math.abs(x) < 100);
  if (!sane || box[2] <= box[0] || box[3] <= box[1]) return null;
  try {
    const url = new URL(told.image_url);
    if (!["http:", "https:"].includes(url.protocol)) return null;
    return { url: url.href, host: url.host, box, orientation: await orientationIn(url.href, told.orientation) };
  } catch {
    return null;
  }
}

// Returns a frame with the crop of a logo, or with the reason why there is none. `ratio` is its width over its height.
export function cropOf(id, { ratio = 1, eager = false } = {}) {
  const frame = make("span", { className: "crop loading" });
  const say = (text) => {
    frame.className = "crop without";
    frame.replaceChildren(make("span", {}, text));
  };
  provenanceOf(id).then(
    (seen) => (seen ? show(frame, id, seen, ratio, eager, () => say("photo not available")) : say("no photo kept")),
    () => say("photo not known"),
  );
  return frame;
}

function show(frame, id, { url, box, orientation }, ratio, eager, failed) {
  const [top, left, bottom, right] = box;
  const image = photo(url, `Logo ${id}`, eager);
  const hole = make("span", { className: "hole" }, image);
  image.addEventListener("load", () => {
    const [photoWidth, photoHeight] = storedSize(image, orientation);
    const width = (right - left) * photoWidth;
    const height = (bottom - top) * photoHeight;
    hole.style.aspectRatio = `${width} / ${height}`;
    hole.style[width / height > ratio ? "width" : "height"] = "100%";
    layOut(image, orientation, box);
    hole.classList.add("fitted");
    hole.classList.toggle("beyond", Math.min(top, left) < 0 || Math.max(bottom, right) > 1); // the service fills this part with black
    frame.classList.remove("loading");
  });
  image.addEventListener("error", failed);
  frame.replaceChildren(hole);
}

// Returns the whole photo, with the box of the logo marked.
export function wholePhotoOf(id, seen) {
  const [top, left, bottom, right] = seen.box;
  const mark = make("span", { className: "mark" });
  Object.assign(mark.style, {
    top: `${100 * top}%`,
    left: `${100 * left}%`,
    width: `${100 * (right - left)}%`,
    height: `${100 * (bottom - top)}%`,
  });
  const shade = make("span", { className: "shade" });
  shadeAround(shade, seen.box);
  const image = photo(seen.url, `The photo that logo ${id} was seen on`, true);
  const sheet = make("div", { className: "sheet" }, image);
  image.addEventListener("load", () => {
    layOnSheet(sheet, image, seen.orientation);
    sheet.append(shade, mark);
  });
  image.addEventListener("error", () => sheet.replaceChildren(make("p", {}, "The photo cannot be shown.")));
  const source = make(
    "figcaption",
    {},
    make("a", { href: seen.url, target: "_blank", rel: "noopener noreferrer" }, `Open the photo at ${seen.host}`),
  );
  return make("figure", { className: "photo" }, sheet, source);
}

// Cuts a box out of an element that darkens the photo below it.
export function shadeAround(shade, box) {
  const [top, left, bottom, right] = box.map((x) => `${100 * Math.min(Math.max(x, 0), 1)}%`);
  shade.style.clipPath = `polygon(evenodd, 0 0, 100% 0, 100% 100%, 0 100%, 0 0, ${left} ${top}, ${right} ${top}, ${right} ${bottom}, ${left} ${bottom}, ${left} ${top})`;
}

function photo(url, alt, eager) {
  // `loading` and the referrer policy must be set before `src`.
  return make("img", { alt, referrerPolicy: "no-referrer", decoding: "async", loading: eager ? "eager" : "lazy", draggable: false, src: url });
}
