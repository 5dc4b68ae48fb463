// Showing a photo as its pixels are stored, which is what the service embeds and what boxes refer to. Browsers turn a photo
// by its Exif orientation, and do so even where CSS forbids it if the photo is on another host. So it is turned back here.

// From a point of the photo as the browser shows it to the same point of its stored pixels, both in shares of width and
// height: a canvas's matrix for each orientation (CIPA DC-008, section 4.6.5).
const TURNED_BACK = {
  1: [1, 0, 0, 1, 0, 0],
  2: [-1, 0, 0, 1, 1, 0],
  3: [-1, 0, 0, -1, 1, 1],
  4: [1, 0, 0, -1, 0, 1],
  5: [0, 1, 1, 0, 0, 0],
  6: [0, -1, 1, 0, 0, 1],
  7: [0, -1, -1, 0, 1, 1],
  8: [0, 1, -1, 0, 1, 0],
};

// A WebP of 2 x 1 pixels, marked to be turned by a quarter.
const PROBE = "data:image/webp;base64,UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=";
let turnsWebP; // whether this browser does: some leave WebP as it is stored

// How this browser turns a photo whose Exif says `told`; null if nobody knows what it says. `type` is its media type, if known.
export async function orientationIn(url, told, type = "") {
  if (!(told in TURNED_BACK)) return null;
  const isWebP = type === "image/webp" || new URL(url).pathname.toLowerCase().endsWith(".webp");
  if (told === 1 || !isWebP) return told;
  turnsWebP ??= probed();
  return (await turnsWebP) ? told : 1;
}

async function probed() {
  const image = new Image();
  image.src = PROBE;
  await image.decode().catch(() => {});
  return image.naturalWidth === 1;
}

// Width and height of the stored pixels of a loaded image.
export function storedSize(image, orientation) {
  const { naturalWidth: width, naturalHeight: height } = image;
  return orientation > 4 ? [height, width] : [width, height];
}

// Lays an image into an element that shows what a box holds of it; both are positioned, the element as large as it may be.
export function layOut(image, orientation, [top, left, bottom, right]) {
  const [width, height] = storedSize(image, orientation);
  const across = 1 / (right - left); // of the whole photo, in widths of the element
  const down = 1 / (bottom - top);
  const shape = (width * (right - left)) / (height * (bottom - top)); // the element's width over its height
  const [wide, high] = orientation > 4 ? [down / shape, across * shape] : [across, down];
  const percent = (x) => `${100 * x}%`;
  Object.assign(image.style, {
    width: percent(wide),
    height: percent(high),
    left: percent((0.5 - left) * across - wide / 2),
    top: percent((0.5 - top) * down - high / 2),
  });
  if (orientation === null) return; // CSS asks the browser not to turn it
  image.style.imageOrientation = "from-image";
  image.style.transform = `matrix(${TURNED_BACK[orientation].slice(0, 4)}, 0, 0)`;
}

// Lays a whole image out on its sheet, which takes the shape of the stored pixels.
export function layOnSheet(sheet, image, orientation) {
  const [width, height] = storedSize(image, orientation);
  sheet.style.setProperty("--shape", width / height);
  sheet.style.setProperty("--width", `${width}px`);
  sheet.classList.add("laid-out");
  layOut(image, orientation, [0, 0, 1, 1]);
}

// Draws all of an image with its stored pixels over a rectangle of a canvas.
export function drawStored(context, image, orientation, [left, top, width, height]) {
  context.translate(left, top);
  context.scale(width, height);
  context.transform(...TURNED_BACK[orientation ?? 1]);
  context.drawImage(image, 0, 0, 1, 1);
}
