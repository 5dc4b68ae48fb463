// Paints the crops of logos over their points when the map is zoomed in.

import { toScreen } from "./camera.js";
import { knownProvenanceOf, provenanceOf } from "./pictures.js";
import { drawStored, storedSize } from "./stored_pixels.js";

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

function pictureOf(id, changed) {
  const seen = knownProvenanceOf(id);
  if (seen === undefined) provenanceOf(id).then(changed, () => {});
  const photo = seen && photoAt(seen.url, changed);
  return photo && { ...seen, photo };
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

function paint(context, { photo, orientation, box: [top, left, bottom, right] }, x, y, frame) {
  const [photoWidth, photoHeight] = storedSize(photo, orientation);
  const [wide, high] = [(right - left) * photoWidth, (bottom - top) * photoHeight];
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
  const [all, tall] = [photoWidth * shrunk, photoHeight * shrunk];
  drawStored(context, photo, orientation, [place[0] - left * all, place[1] - top * tall, all, tall]);
  context.restore();
}
