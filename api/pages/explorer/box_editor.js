// Draws the box of a logo on an image. Drag to draw a box, drag the box to move it, drag its edges to resize it; on the
// keyboard, arrows move it, and Shift and arrows resize it. A box is `[top, left, bottom, right]` in fractions of height
// and width of the stored pixels; null is the whole image.

import { make } from "./elements.js";
import { shadeAround } from "./pictures.js";
import { layOnSheet } from "./stored_pixels.js";

const SMALLEST = 0.01;
const EDGES = ["n", "e", "s", "w", "nw", "ne", "se", "sw"];
const SETTLED = 350; // milliseconds after the last key

const within = (x, low, high) => Math.min(Math.max(x, low), high);

export class BoxEditor {
  // `changed` is called with the box when a drag ends, or shortly after the last key.
  constructor(image, changed) {
    this.image = image;
    this.box = image.box;
    this.changed = changed;
    this.mark = make("div", {
      className: "mark editable",
      tabIndex: 0,
      role: "group",
      "aria-roledescription": "box",
      "aria-describedby": "box-help",
      onkeydown: (event) => this.#key(event),
    });
    for (const edge of EDGES) this.mark.append(make("span", { className: `edge ${edge}`, "data-edge": edge }));
    this.picture = make("img", { alt: "Your image", draggable: false, onload: () => this.layOut() });
    if (image.address) this.picture.referrerPolicy = "no-referrer";
    this.picture.addEventListener("error", () => this.element.replaceChildren(make("p", { className: "help" }, "The browser cannot show this image, so all of it is searched.")));
    this.picture.src = image.url;
    this.shade = make("span", { className: "shade" });
    this.sheet = make("div", { className: "sheet stage" }, this.picture);
    this.whole = make("button", { type: "button", className: "quiet", onclick: () => this.#settle(null) }, "Whole image");
    this.element = make(
      "div",
      { className: "editor" },
      this.sheet,
      make("p", { className: "help", id: "box-help" }, "Drag to draw a box around the logo. ", make("span", { className: "keys" }, "On the keyboard, arrows move it, and Shift and arrows resize it.")),
      this.whole,
    );
    this.#show();
  }

  // Shows the image and lets the user draw, once it is loaded and its orientation is told: a box drawn before might mean
  // another part.
  layOut() {
    if (this.mark.parentElement) return; // inserted again, it would lose the focus
    const isLoaded = this.picture.complete && this.picture.naturalWidth; // a WebP's Exif comes last
    if (this.image.orientation === undefined || !isLoaded) return;
    layOnSheet(this.sheet, this.picture, this.image.orientation);
    this.sheet.append(this.shade, this.mark);
    this.sheet.onpointerdown = (event) => this.#press(event);
  }

  #settle(box) {
    this.box = box;
    this.#show();
    this.changed(box);
  }

  #show() {
    const [top, left, bottom, right] = this.box ?? [0, 0, 1, 1];
    const percent = (x) => `${100 * x}%`;
    Object.assign(this.mark.style, {
      top: percent(top),
      left: percent(left),
      width: percent(right - left),
      height: percent(bottom - top),
    });
    shadeAround(this.shade, [top, left, bottom, right]);
    const whole = (x) => Math.round(100 * x);
    this.mark.classList.toggle("all", !this.box);
    this.mark.setAttribute(
      "aria-label",
      this.box
        ? `Box from ${whole(left)} to ${whole(right)} percent across, ${whole(top)} to ${whole(bottom)} percent down`
        : "Box: the whole image",
    );
    this.whole.disabled = !this.box;
  }

  #at(event) {
    const { left, top, width, height } = this.sheet.getBoundingClientRect();
    return [within((event.clientY - top) / height, 0, 1), within((event.clientX - left) / width, 0, 1)];
  }

  #press(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    this.mark.focus({ preventScroll: true });
    const before = this.box;
    const [y, x] = this.#at(event);
    const edge = event.target.dataset.edge;
    const grabbed = edge || (before && event.target === this.mark);
    const [top, left, bottom, right] = before ?? [0, 0, 1, 1];
    const drawn = (toY, toX) => {
      if (edge) return this.#resized([top, left, bottom, right], edge, toY - y, toX - x);
      if (grabbed) return moved([top, left, bottom, right], toY - y, toX - x);
      return [Math.min(y, toY), Math.min(x, toX), Math.max(y, toY), Math.max(x, toX)];
    };
    const move = (moving) => {
      this.box = drawn(...this.#at(moving));
      this.#show();
    };
    const end = (ending) => {
      this.sheet.removeEventListener("pointermove", move);
      this.sheet.removeEventListener("pointerup", end);
      this.sheet.removeEventListener("pointercancel", end);
      const box = this.box;
      const tiny = !box || box[2] - box[0] < SMALLEST || box[3] - box[1] < SMALLEST;
      if (ending.type === "pointercancel" || tiny) {
        this.box = before;
        this.#show();
      } else if (box !== before) this.#settle(box);
    };
    this.sheet.setPointerCapture(event.pointerId);
    this.sheet.addEventListener("pointermove", move);
    this.sheet.addEventListener("pointerup", end);
    this.sheet.addEventListener("pointercancel", end);
  }

  #resized([top, left, bottom, right], edge, down, across) {
    if (edge.includes("n")) top = within(top + down, 0, bottom - SMALLEST);
    if (edge.includes("s")) bottom = within(bottom + down, top + SMALLEST, 1);
    if (edge.includes("w")) left = within(left + across, 0, right - SMALLEST);
    if (edge.includes("e")) right = within(right + across, left + SMALLEST, 1);
    return [top, left, bottom, right];
  }

  #key(event) {
    const step = event.altKey ? 0.002 : 0.02;
    const [down, across] =
      { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[event.key] ?? [0, 0];
    if ((!down && !across) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const box = this.box ?? [0.25, 0.25, 0.75, 0.75]; // the first key creates a box
    this.box = !this.box ? box : event.shiftKey ? this.#resized(box, "se", down, across) : moved(box, down, across);
    this.#show();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.changed(this.box), SETTLED);
  }
}

function moved([top, left, bottom, right], down, across) {
  const y = within(down, -top, 1 - bottom);
  const x = within(across, -left, 1 - right);
  return [top + y, left + x, bottom + y, right + x];
}
