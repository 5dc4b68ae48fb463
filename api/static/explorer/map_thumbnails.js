// Near enough, the map shows the logos themselves: their crops, beside their points.

import { toScreen } from "./camera.js";
import { provenanceOf } from "./pictures.js";

const MOST = 40; // logos in view, beyond which they stay points
const SIDE = 44; // pixels of a picture's longer side
const KEPT = 200; // photos

const photos = new Map(); // address -> image, or null while it comes or if it cannot be had

export function paintThumbnails(context, { camera, size, ids, xs, ys }, inView, changed) {
  if (inView > MOST) return;
  for (let i = 0; i < ids.length; i++) {
    const [x, y] = toScreen(camera, size, xs[i], ys[i]);
    if (x < 0 || y < 0 || x > size.width || y > size.height) continue;
    const picture = pictureOf(ids[i], changed);
    if (picture) paint(context, picture, x, y);
  }
}

const pictures = new Map(); // id -> {photo, box}, or null while it comes

function pictureOf(id, changed) {
  if (!pictures.has(id)) {
    pictures.set(id, null);
    provenanceOf(id).then(
      (seen) => {
        pictures.set(id, seen);
        changed();
      },
      () => pictures.delete(id),
    );
  }
  const seen = pictures.get(id);
  const photo = seen && photoAt(seen.url, changed);
  return photo && { photo, box: seen.box };
}

function photoAt(url, changed) {
  if (!photos.has(url)) {
    if (photos.size >= KEPT) photos.delete(photos.keys().next().value);
    photos.set(url, null);
    const image = new Image();
    image.referrerPolicy = "no-referrer";
    image.onload = () => {
      photos.set(url, image);
      changed();
    };
    image.src = url;
  }
  return photos.get(url);
}

function paint(context, { photo, box: [top, left, bottom, right] }, x, y) {
  const [wide, high] = [(right - left) * photo.naturalWidth, (bottom - top) * photo.naturalHeight];
  const shrunk = SIDE / Math.max(wide, high);
  const [width, height] = [wide * shrunk, high * shrunk];
  const corner = [x - width / 2, y + 7];
  context.drawImage(photo, left * photo.naturalWidth, top * photo.naturalHeight, wide, high, ...corner, width, height);
}
