// Near enough, the map shows the logos themselves: their crops, over their points.

import { toScreen } from "./camera.js";
import { provenanceOf } from "./pictures.js";

const MOST = 64; // logos in view, beyond which they stay points
const SIDE = 48; // pixels of a picture's longer side
const KEPT = 200; // photos

const photos = new Map(); // address -> image, or null while it comes or if it cannot be had

// Paints those in view over their points, framed in the colour that `frameOf` says; answers which were painted.
export function paintThumbnails(context, { camera, size, ids, xs, ys }, inView, frameOf, changed) {
  const painted = new Set();
  if (inView > MOST) return painted;
  for (let i = 0; i < ids.length; i++) {
    const [x, y] = toScreen(camera, size, xs[i], ys[i]);
    if (x < 0 || y < 0 || x > size.width || y > size.height) continue;
    const picture = pictureOf(ids[i], changed);
    if (!picture) continue;
    paint(context, picture, x, y, frameOf(i));
    painted.add(i);
  }
  return painted;
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

function paint(context, { photo, box: [top, left, bottom, right] }, x, y, frame) {
  const [wide, high] = [(right - left) * photo.naturalWidth, (bottom - top) * photo.naturalHeight];
  const shrunk = SIDE / Math.max(wide, high);
  const [width, height] = [wide * shrunk, high * shrunk];
  const place = [x - width / 2, y - height / 2, width, height];
  context.save();
  context.beginPath();
  context.roundRect(...place, 5);
  context.lineWidth = 4;
  context.strokeStyle = frame;
  context.stroke();
  context.clip();
  context.drawImage(photo, left * photo.naturalWidth, top * photo.naturalHeight, wide, high, ...place);
  context.restore();
}
