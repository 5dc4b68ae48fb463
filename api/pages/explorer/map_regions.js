// Names for the regions of the map: where most of the logos that have a name have the same one.

const CELLS = 28; // along each side
const FEWEST = 4; // logos of a name in a region
const MOST = 40; // names
const SHARE = 0.5; // of the named logos in the region

// Returns the regions, the largest first: `{x, y, place, logos}`, with the place of the name among the values.
export function regionsOf(xs, ys, ofLogos, side = 65_536) {
  const cells = new Map(); // cell -> Map of place -> [logos, sum of x, sum of y]
  const totals = new Map();
  for (let i = 0; i < xs.length; i++) {
    const place = ofLogos[i];
    if (place < 0) continue;
    const cell = Math.min(CELLS - 1, Math.floor((xs[i] / side) * CELLS)) * CELLS + Math.min(CELLS - 1, Math.floor((ys[i] / side) * CELLS));
    if (!cells.has(cell)) cells.set(cell, new Map());
    const found = cells.get(cell);
    const [logos, x, y] = found.get(place) ?? [0, 0, 0];
    found.set(place, [logos + 1, x + xs[i], y + ys[i]]);
    totals.set(cell, (totals.get(cell) ?? 0) + 1);
  }
  const best = new Map(); // place -> its densest region
  for (const [cell, found] of cells) {
    for (const place of found.keys()) {
      const around = [];
      let named = 0;
      for (const column of [-1, 0, 1]) {
        for (const row of [-1, 0, 1]) {
          const other = cell + column * CELLS + row;
          if (Math.abs((other % CELLS) - (cell % CELLS)) > 1) continue; // beyond an edge
          named += totals.get(other) ?? 0;
          if (cells.get(other)?.has(place)) around.push(cells.get(other).get(place));
        }
      }
      const [logos, x, y] = around.reduce((sum, one) => sum.map((value, i) => value + one[i]), [0, 0, 0]);
      if (logos < FEWEST || logos < SHARE * named || logos <= (best.get(place)?.logos ?? 0)) continue;
      best.set(place, { x: x / logos, y: y / logos, place, logos });
    }
  }
  return [...best.values()].sort((a, b) => b.logos - a.logos).slice(0, MOST);
}

// Writes the names where there is room, the largest region first. `toScreen` returns a place on the screen.
export function paintRegions(context, regions, values, toScreen, size, ink, ground) {
  const taken = [];
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const { x, y, place } of regions) {
    const text = values[place].value.slice(0, 28);
    const [left, top] = toScreen(x, y);
    const half = context.measureText(text).width / 2 + 4;
    const box = [left - half, top - 10, left + half, top + 10];
    if (box[0] < 0 || box[1] < 0 || box[2] > size.width || box[3] > size.height) continue;
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    context.lineWidth = 4;
    context.strokeStyle = ground;
    context.strokeText(text, left, top);
    context.fillStyle = ink;
    context.fillText(text, left, top);
  }
  return taken.length;
}
