// Paints many points fast: for each point, the alpha values of a small soft disc are added to one image, at a position
// that is rounded to a quarter of a pixel.

const QUARTERS = 4;

export class PointPainter {
  constructor(canvas) {
    this.context = canvas.getContext("2d");
  }

  // Paints the points inside the canvas, in device pixels, and returns their number.
  paint({ xs, ys }, { x, y, scale }, radius, [red, green, blue], opacity) {
    const { width, height } = this.context.canvas;
    if (this.image?.width !== width || this.image?.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill((blue << 16) | (green << 8) | red); // ImageData is RGBA in memory; the host is little-endian
    const alphas = this.image.data; // a clamped array: values above 255 become 255
    const side = 2 * Math.ceil(radius + 1) + 1;
    const stamps = stampsOf(radius, side, opacity);
    const half = (side - 1) / 2;
    let painted = 0;
    for (let i = 0; i < xs.length; i++) {
      const across = (xs[i] - x) * scale + width / 2;
      const down = (ys[i] - y) * scale + height / 2;
      const column = Math.floor(across);
      const row = Math.floor(down);
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      painted++;
      const quarter = ((down - row) * QUARTERS) | 0;
      const stamp = stamps[quarter * QUARTERS + (((across - column) * QUARTERS) | 0)];
      const fromRow = Math.max(0, half - row);
      const toRow = Math.min(side, height + half - row);
      const fromColumn = Math.max(0, half - column);
      const toColumn = Math.min(side, width + half - column);
      for (let r = fromRow; r < toRow; r++) {
        let to = 4 * ((row - half + r) * width + column - half + fromColumn) + 3;
        for (let at = r * side + fromColumn, end = r * side + toColumn; at < end; at++, to += 4) alphas[to] += stamp[at];
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
