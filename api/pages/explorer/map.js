// The map of the index: each logo is a point, close to the logos that look like it. It is painted only after a change.

import { fitted, panned, toScreen, zoomed } from "./camera.js";
import { link, make, say, whole } from "./elements.js";
import { classesOf, colourLegend, inks, NONE, OTHERS } from "./map_colours.js";
import { paintRegions, regionsOf } from "./map_regions.js";
import { areNamed, attributeShown, nameNow } from "./names.js";
import * as service from "./service.js";
import { watchGestures } from "./map_gestures.js";
import { PointPainter } from "./map_points.js";
import { cropOf } from "./pictures.js";
import { paintThumbnails } from "./map_thumbnails.js";

const REACH = 22; // largest distance in pixels between the pointer and the logo that it selects
const SHARPEST = 2; // most device pixels per pixel; more take time and make no visible difference
const CLOSE = 24; // largest scale for a logo and its neighbours, as a multiple of the scale that shows all

const OVERVIEW = 3; // up to this scale, as a multiple of the scale that shows all, regions have names

const isDark = (element) => Math.max(...getComputedStyle(element).backgroundColor.match(/[\d.]+/g).slice(0, 3)) < 128;
const logos = (count) => `${whole(count)} ${count === 1 ? "logo" : "logos"}`;

export class LogoMap {
  // `addressOf` returns the address of a logo's view; `open` opens it.
  constructor(addressOf, open) {
    this.addressOf = addressOf;
    this.points = make("canvas", { "aria-hidden": "true" });
    this.marks = make("canvas", { "aria-hidden": "true" });
    this.tip = make("div", { className: "tip", hidden: true });
    this.area = make(
      "div",
      { className: "area", tabIndex: 0, role: "application", "aria-roledescription": "map", "aria-describedby": "map-help" },
      this.points,
      this.marks,
      make("span", { className: "cross", "aria-hidden": "true" }),
    );
    const button = (text, name, act) => make("button", { type: "button", "aria-label": name, title: name, onclick: act }, text);
    const middle = () => [this.size.width / 2, this.size.height / 2];
    this.legend = make("p", { className: "legend" });
    this.palette = make("div");
    this.element = make(
      "section",
      { className: "map", "aria-label": "Map" },
      make("div", { className: "frame" }, this.area, this.tip, make(
        "div",
        { className: "zoom" },
        button("+", "Zoom in", () => this.#zoom(1.6, ...middle())),
        button("−", "Zoom out", () => this.#zoom(1 / 1.6, ...middle())),
        button("All", "Show all", () => this.#showAll()),
      )),
      this.legend,
      this.palette,
      make("p", { className: "hidden", id: "map-help" }, "Arrow keys move, plus and minus zoom, 0 shows all. Enter opens the logo in the middle."),
    );
    this.colours = { here: make("i", { className: "dot here" }), near: make("i", { className: "dot near" }) };
    this.painter = new PointPainter(this.points);
    this.size = { width: 0, height: 0 };
    this.renamed = 0; // how often logos were named
    this.set(null);
    watchGestures(this.area, {
      pan: (left, top) => this.#look(panned(this.camera, left, top)),
      zoom: (factor, left, top) => this.#zoom(factor, left, top),
      all: () => this.#showAll(),
      point: (left, top, keyed) => this.#point(this.#nearest(left, top, keyed ? Infinity : REACH), keyed),
      open: (left, top, keyed) => {
        const i = this.#nearest(left, top, keyed ? Infinity : REACH); // the logo that was announced
        if (i >= 0) open(this.ids[i]);
      },
      leave: () => this.#point(-1),
    });
    new ResizeObserver(() => this.#resize()).observe(this.area);
    addEventListener("themechange", () => this.#changed());
    addEventListener("nameschange", () => this.renamed++);
  }

  // Shows another map, as returned by `service.map`, or none.
  set(map) {
    this.generation = map?.generation ?? null;
    this.ids = map?.ids ?? [];
    this.xs = Float32Array.from(map?.x ?? []);
    this.ys = Float32Array.from(map?.y ?? []);
    this.at = new Map(this.ids.map((id, i) => [id, i]));
    this.#classify({ values: [], of_logos: new Int32Array(this.ids.length).fill(-1) });
    this.area.setAttribute("aria-label", `Map of ${logos(this.ids.length)}`);
    this.element.dataset.points = this.ids.length;
    this.camera = null;
    this.highlight(null, []);
  }

  // Colours the points by the attribute that is shown.
  async colour(index) {
    const asked = `${index} ${this.generation} ${attributeShown()} ${areNamed()} ${this.renamed}`;
    if (this.coloured === asked) return;
    this.coloured = asked;
    const nothing = { values: [], of_logos: new Int32Array(this.ids.length).fill(-1) };
    const found = areNamed() && this.ids.length ? await service.valuesOnMap(attributeShown(), index).catch(() => null) : nothing;
    if (this.coloured !== asked) return;
    if (found === null || (found !== nothing && found.generation !== this.generation)) {
      this.coloured = null; // asked again with the next view, or the next map
      return;
    }
    this.#classify(found);
    this.#changed();
  }

  #classify({ values, of_logos: ofLogos }) {
    this.values = values;
    this.ofLogos = ofLogos;
    this.classes = classesOf(ofLogos);
    this.shown = null; // the classes that the legend filters by
    this.regions = values.length ? regionsOf(this.xs, this.ys, ofLogos) : [];
    this.#order();
    const unnamed = this.classes.filter((of) => of === NONE).length;
    this.palette.replaceChildren(
      ...(values.length
        ? [
            colourLegend(values, unnamed, (shown) => {
              this.shown = shown;
              this.#order();
              this.#changed();
            }),
          ]
        : []),
    );
    this.element.dataset.colours = values.length;
  }

  // The points without a colour, and those that the legend hides, are painted first.
  #order() {
    const behind = (i) => this.#hides(i) || this.classes[i] >= OTHERS;
    const all = Array.from(this.xs, (_, i) => i);
    this.order = Uint32Array.from([...all.filter(behind), ...all.filter((i) => !behind(i))]);
  }

  #hides(i) {
    return this.shown !== null && !this.shown.has(this.classes[i]);
  }

  #nameOf(i) {
    return nameNow(this.ids[i]) ?? this.values[this.ofLogos[i]]?.value ?? null;
  }

  // Marks a logo and its neighbours, and moves the camera to them. `id` is null if there is no logo.
  highlight(id, neighbours) {
    this.here = this.at.get(id) ?? -1;
    this.near = neighbours.map((row) => this.at.get(row.id) ?? -1).filter((i) => i >= 0 && i !== this.here);
    this.wanted = id !== null || neighbours.length > 0;
    const all = `${logos(this.ids.length)}, similar ones close together: look for groups, and open one of a group to see its neighbours.`;
    this.area.classList.toggle("dimmed", this.wanted);
    this.legend.replaceChildren(...(this.wanted ? this.#named(id, neighbours.length) : [all]));
    this.#point(-1);
    this.camera = null;
    this.#changed();
  }

  #named(id, count) {
    const named = [this.colours.near, ` ${whole(this.near.length)} of its ${whole(count)} nearest`];
    if (id === null) return named;
    return this.here < 0 ? [`Logo ${id} is not on the map. `, ...named] : [this.colours.here, ` logo ${id}`, ...named];
  }

  #resize() {
    this.size = { width: this.area.clientWidth, height: this.area.clientHeight };
    this.sharpness = Math.min(devicePixelRatio || 1, SHARPEST);
    for (const canvas of [this.points, this.marks]) {
      canvas.width = Math.round(this.size.width * this.sharpness);
      canvas.height = Math.round(this.size.height * this.sharpness);
    }
    this.camera = this.#settled() ? this.camera : null;
    this.#changed();
  }

  // Whether the user has moved the camera: a change of size then keeps it.
  #settled() {
    return this.camera && this.moved;
  }

  #look(camera) {
    this.camera = camera;
    this.moved = true;
    if (this.pointed >= 0) this.#placeTip();
    this.#changed();
  }

  #zoom(factor, left, top) {
    if (this.camera) this.#look(zoomed(this.camera, this.size, factor, left, top, this.#all()));
  }

  #showAll() {
    this.#look(this.#all());
  }

  #all() {
    return fitted(this.xs, this.ys, this.size);
  }

  #first() {
    this.moved = false;
    const shown = this.here < 0 ? this.near : [this.here, ...this.near];
    if (!shown.length) return this.#all();
    const of = (values) => shown.map((i) => values[i]);
    return fitted(of(this.xs), of(this.ys), this.size, this.#all().scale * CLOSE);
  }

  #nearest(left, top, reach) {
    let [found, best] = [-1, reach * reach];
    for (let i = 0; this.camera && i < this.ids.length; i++) {
      if (this.#hides(i)) continue;
      const [x, y] = toScreen(this.camera, this.size, this.xs[i], this.ys[i]);
      const far = (x - left) ** 2 + (y - top) ** 2;
      if (far < best) [found, best] = [i, far];
    }
    return found;
  }

  #point(i, keyed = false) {
    if (i === this.pointed) return;
    this.pointed = i;
    this.area.classList.toggle("pointing", i >= 0);
    this.tip.hidden = i < 0;
    clearTimeout(this.asking);
    if (i >= 0) {
      const id = this.ids[i];
      this.tip.replaceChildren(link(this.addressOf(id), { tabIndex: -1 }, make("span", { className: "crop" }), make("span", { className: "name" }, this.#nameOf(i) ?? ""), make("span", { className: "id" }, id)));
      this.#placeTip();
      // A pointer that only passes over a logo requests nothing.
      this.asking = setTimeout(() => this.tip.querySelector(".crop").replaceWith(cropOf(id, { eager: true })), 60);
      if (keyed) say([`Logo ${id}`, this.#nameOf(i)].filter(Boolean).join(", "));
    }
    this.#changed();
  }

  #placeTip() {
    const [x, y] = toScreen(this.camera, this.size, this.xs[this.pointed], this.ys[this.pointed]);
    const { width, height } = this.size;
    const below = y < height / 2;
    const left = Math.min(Math.max(x - 66, 8), width - 140);
    this.tip.style.transform = `translate(${left}px, ${below ? y + 14 : y - 14}px)${below ? "" : " translateY(-100%)"}`;
  }

  #changed() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#paint();
    });
  }

  #paint() {
    const { width, height } = this.size;
    if (!width || !height || !this.element.isConnected) return;
    if (!this.ids.length) return void this.points.getContext("2d").clearRect(0, 0, this.points.width, this.points.height);
    this.camera ??= this.#first();
    const sharpness = this.sharpness;
    const closeness = this.camera.scale / this.#all().scale;
    const room = Math.sqrt((width * height) / this.ids.length);
    const radius = Math.min(Math.max(0.09 * room * Math.sqrt(closeness), 1.1), 5);
    const scaled = { ...this.camera, scale: this.camera.scale * sharpness };
    const ink = getComputedStyle(this.area).color.match(/[\d.]+/g).map(Number);
    const faint = this.shown && new Set(Array.from({ length: NONE + 1 }, (_, of) => of).filter((of) => !this.shown.has(of)));
    const painted = this.painter.paint(this, scaled, radius * sharpness, inks(ink, isDark(this.area)), OTHERS, faint);
    this.element.dataset.painted = painted;
    this.#mark(radius, painted, closeness);
  }

  #mark(radius, painted, closeness) {
    const context = this.marks.getContext("2d");
    context.setTransform(this.sharpness, 0, 0, this.sharpness, 0, 0);
    context.clearRect(0, 0, this.size.width, this.size.height);
    const colour = (element) => getComputedStyle(element).backgroundColor;
    const [ground, near, here] = [this.area, this.colours.near, this.colours.here].map(colour);
    const nears = new Set(this.near);
    const frameOf = (i) => (i === this.here ? here : nears.has(i) ? near : ground);
    const disc = (i, size, fill) => {
      const [x, y] = toScreen(this.camera, this.size, this.xs[i], this.ys[i]);
      context.beginPath();
      context.arc(x, y, size, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
      context.stroke();
    };
    context.lineWidth = 1.5;
    context.strokeStyle = ground;
    for (const i of this.near) disc(i, Math.max(radius + 1, 3.5), near);
    if (this.here >= 0) disc(this.here, Math.max(radius + 3, 6), here);
    const first = this.here >= 0 ? [this.here, ...this.near] : this.near;
    paintThumbnails(context, this, painted, first, frameOf, () => this.#changed());
    if (closeness <= OVERVIEW && !this.wanted) {
      const ink = getComputedStyle(this.element).color;
      const shown = this.regions.filter(({ place }) => !this.shown || this.shown.has(Math.min(place, OTHERS)));
      this.element.dataset.regions = paintRegions(context, shown, this.values, (x, y) => toScreen(this.camera, this.size, x, y), this.size, ink, ground);
    }
    if (this.pointed >= 0) disc(this.pointed, radius + 3, getComputedStyle(this.area).color);
  }
}
