// Pictures of logos. The browser itself fetches the photo that a logo was seen on and shows what the logo's box holds of it.
// Addresses and boxes come from whoever added the logo: nothing but an http(s) address and four sane numbers is believed.

import { make } from "./elements.js";
import * as service from "./service.js";
import { layOut, orientationIn, storedSize } from "./stored_pixels.js";

const AT_ONCE = 200; // ids in one request: an address stays under 4 KB

const known = new Map(); // id -> provenance, or null
let wanted = new Map(); // id -> those who wait for it

// The provenance of a logo, or null. What is asked for in one go is fetched with one request.
export function provenanceOf(id) {
  if (known.has(id)) return Promise.resolve(known.get(id));
  if (wanted.size === 0) queueMicrotask(fetchWanted);
  return new Promise((resolve, reject) => {
    if (!wanted.has(id)) wanted.set(id, []);
    wanted.get(id).push({ resolve, reject });
  });
}

async function fetchWanted() {
  const waiting = [...wanted];
  wanted = new Map();
  for (let start = 0; start < waiting.length; start += AT_ONCE) {
    await fetchSome(waiting.slice(start, start + AT_ONCE));
  }
}

async function fetchSome(some) {
  try {
    const found = await service.provenance(some.map(([id]) => id));
    for (const [id, those] of some) {
      known.set(id, await believed(found.get(id)));
      for (const { resolve } of those) resolve(known.get(id));
    }
  } catch (error) {
    const half = some.length >> 1;
    if (error.status === 400 && half) {
      await fetchSome(some.slice(0, half)); // the service may take fewer at once
      return fetchSome(some.slice(half));
    }
    for (const [, those] of some) for (const { reject } of those) reject(error);
  }
}

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

// A frame that shows the crop of a logo, or says why it cannot; `ratio` is the frame's width over its height.
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
    hole.classList.toggle("beyond", Math.min(top, left) < 0 || Math.max(bottom, right) > 1); // the service saw black there
    frame.classList.remove("loading");
  });
  image.addEventListener("error", failed);
  frame.replaceChildren(hole);
}

// The whole photo with the logo's box marked, or null if there is none.
export function wholePhotoOf(id, seen) {
  const [top, left, bottom, right] = seen.box;
  const mark = make("span", { className: "mark" });
  Object.assign(mark.style, {
    top: `${100 * top}%`,
    left: `${100 * left}%`,
    width: `${100 * (right - left)}%`,
    height: `${100 * (bottom - top)}%`,
  });
  const image = photo(seen.url, `The photo that logo ${id} was seen on`, true);
  const sheet = make("div", { className: "sheet" }, image);
  image.addEventListener("load", () => {
    const [width, height] = storedSize(image, seen.orientation);
    sheet.style.setProperty("--shape", width / height);
    sheet.style.setProperty("--width", `${width}px`);
    sheet.classList.add("laid-out");
    layOut(image, seen.orientation, [0, 0, 1, 1]);
    sheet.append(mark);
  });
  image.addEventListener("error", () => sheet.replaceChildren(make("p", {}, "The photo cannot be shown.")));
  const source = make(
    "figcaption",
    {},
    make("a", { href: seen.url, target: "_blank", rel: "noopener noreferrer" }, `Open the photo at ${seen.host}`),
  );
  return make("figure", { className: "photo" }, sheet, source);
}

function photo(url, alt, eager) {
  // `loading` and the policy must be set before the address.
  return make("img", { alt, referrerPolicy: "no-referrer", decoding: "async", loading: eager ? "eager" : "lazy", draggable: false, src: url });
}
