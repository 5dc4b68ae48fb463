// Paints many points fast: for each point, the alpha values of a small soft disc are added to one image, at a position
// that is rounded to a quarter of a pixel. Where discs of several colours meet, the last one gives the colour.

const QUARTERS = 4;
const [SOLID, USUAL, FAINT] = [0.95, 0.6, 0.1]; // opacities

export class PointPainter {
  constructor(canvas) {
    this.context = canvas.getContext("2d");
  }

  // Paints the points inside the canvas, in device pixels, and returns their number. A point has the ink of its class, as
  // 0xBBGGRR; the first `coloured` classes are painted solid, and those in `faint`, if any, hardly.
  paint({ xs, ys, order, classes }, { x, y, scale }, radius, inks, coloured, faint) {
    const { width, height } = this.context.canvas;
    if (this.image?.width !== width || this.image?.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const pixels = this.pixels; // ImageData is RGBA in memory; the host is little-endian
    pixels.fill(0);
    const side = 2 * Math.ceil(radius + 1) + 1;
    const [full, usual, thin] = [SOLID, USUAL, FAINT].map((opacity) => stampsOf(radius, side, opacity));
    const half = (side - 1) / 2;
    let painted = 0;
    for (let n = 0; n < xs.length; n++) {
      const i = order[n];
      const across = (xs[i] - x) * scale + width / 2;
      const down = (ys[i] - y) * scale + height / 2;
      const column = Math.floor(across);
      const row = Math.floor(down);
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      painted++;
      const quarter = ((down - row) * QUARTERS) | 0;
      const ink = inks[classes[i]];
      const stamps = faint?.has(classes[i]) ? thin : classes[i] < coloured ? full : usual;
      const stamp = stamps[quarter * QUARTERS + (((across - column) * QUARTERS) | 0)];
      const fromRow = Math.max(0, half - row);
      const toRow = Math.min(side, height + half - row);
      const fromColumn = Math.max(0, half - column);
      const toColumn = Math.min(side, width + half - column);
      for (let r = fromRow; r < toRow; r++) {
        let to = (row - half + r) * width + column - half + fromColumn;
        for (let at = r * side + fromColumn, end = r * side + toColumn; at < end; at++, to++) {
          const alpha = stamp[at];
          if (!alpha) continue;
          const sum = (pixels[to] >>> 24) + alpha;
          pixels[to] = ((sum < 255 ? sum : 255) << 24) | ink;
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
    return painted;
  }
}

function stampsOf(radius, side, opacity) {
  const half = (side - 1) / 2;
  const stamps = [];
  for (let q = 0; q < QUARTERS * QUARTERS; q++) {
    const down = half + (Math.floor(q / QUARTERS) + 0.5) / QUARTERS - 0.5;
    const across = half + ((q % QUARTERS) + 0.5) / QUARTERS - 0.5;
    const stamp = new Uint8Array(side * side);
    for (let i = 0; i < stamp.length; i++) {
      const distance = Math.hypot(Math.floor(i / side) - down, (i % side) - across);
      stamp[i] = 255 * opacity * Math.min(Math.max(radius + 0.5 - distance, 0), 1);
    }
    stamps.push(stamp);
  }
  return stamps;
}
