// The camera of the map: the point of the map in the middle of the view, and the scale in pixels per unit of the map.

const MARGIN = 0.92;
const NEAREST = 400; // the largest scale, as a multiple of the scale that shows all

export const toScreen = (camera, { width, height }, x, y) => [
  (x - camera.x) * camera.scale + width / 2,
  (y - camera.y) * camera.scale + height / 2,
];

export const toMap = (camera, { width, height }, left, top) => [
  (left - width / 2) / camera.scale + camera.x,
  (top - height / 2) / camera.scale + camera.y,
];

// Returns the camera that shows all points, at a scale of at most `nearest`.
export function fitted(xs, ys, { width, height }, nearest = Infinity) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < xs.length; i++) {
    left = Math.min(left, xs[i]);
    right = Math.max(right, xs[i]);
    top = Math.min(top, ys[i]);
    bottom = Math.max(bottom, ys[i]);
  }
  const scale = MARGIN * Math.min(width / Math.max(right - left, 1), height / Math.max(bottom - top, 1));
  return { x: (left + right) / 2, y: (top + bottom) / 2, scale: Math.min(scale, nearest) };
}

export const panned = (camera, left, top) => ({
  ...camera,
  x: camera.x - left / camera.scale,
  y: camera.y - top / camera.scale,
});

// Returns a camera zoomed by a factor around a fixed place on the screen.
export function zoomed(camera, size, factor, left, top, all) {
  const scale = Math.min(Math.max(camera.scale * factor, all.scale / 2), all.scale * NEAREST);
  const [x, y] = toMap(camera, size, left, top);
  return { scale, x: x - (left - size.width / 2) / scale, y: y - (top - size.height / 2) / scale };
}
