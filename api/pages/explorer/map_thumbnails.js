// Paints the crops of logos over their points when the map is zoomed in.

import { toScreen } from "./camera.js";
import { provenanceOf } from "./pictures.js";

const CROWD = 300; // with more logos in view, only points are shown
const MOST = 40; // most pictures at once
const APART = 54; // smallest distance of two pictures, in pixels
const SIDE = 48; // longer side of a picture, in pixels
const KEPT = 200; // most photos kept in memory

const photos = new Map(); // address -> image, or null while it loads or if it failed

// Paints pictures where there is room, those of `first` first. `frameOf` returns the colour of a frame.
export function paintThumbnails(context, { camera, size, ids, xs, ys }, inView, first, frameOf, changed) {
  if (inView > CROWD) return;
  const places = [];
  const seen = new Set();
  const take = (i) => {
    if (seen.has(i) || places.length === MOST) return;
    seen.add(i);
    const [x, y] = toScreen(camera, size, xs[i], ys[i]);
    if (x < 0 || y < 0 || x > size.width || y > size.height) return;
    if (places.some((place) => Math.abs(place.x - x) < APART && Math.abs(place.y - y) < APART)) return;
    places.push({ i, x, y });
  };
  first.forEach(take);
  for (let i = 0; i < ids.length; i++) take(i);
  for (const { i, x, y } of places) {
    const picture = pictureOf(ids[i], changed);
    if (picture) paint(context, picture, x, y, frameOf(i));
  }
}

const pictures = new Map(); // id -> {url, box}, or null while it loads or if there is none

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
