// The gestures of the map: drag, pinch, wheel, keys, hover and tap become calls of `pan`, `zoom`, `all`, `point`, `open`.

const STILL = 5; // a tap may move this many pixels
const STEP = 60; // an arrow key pans by this many pixels
const WHEEL = 0.0022; // zoom (natural logarithm) per pixel of the wheel
const LINE = 16; // pixels per line, for wheels that count lines

export function watchGestures(element, tell) {
  const held = new Map(); // pointer id -> position
  let moved = 0;

  const place = (event) => {
    const { left, top } = element.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const spread = () => {
    const [a, b] = [...held.values()];
    return { distance: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    if (held.size === 0) moved = 0;
    held.set(event.pointerId, place(event));
  });
  element.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    const now = place(event);
    if (!before) {
      if (event.pointerType !== "touch") tell.point(...now);
      return;
    }
    const wide = held.size === 2 ? spread() : null;
    held.set(event.pointerId, now);
    if (wide) {
      const { distance, middle } = spread();
      tell.zoom(distance / Math.max(wide.distance, 1), ...middle);
      tell.pan(middle[0] - wide.middle[0], middle[1] - wide.middle[1]);
      moved = Infinity;
    } else {
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (moved > STILL) tell.pan(now[0] - before[0], now[1] - before[1]);
    }
  });
  element.addEventListener("pointerup", (event) => {
    if (!held.delete(event.pointerId) || moved > STILL) return;
    // A finger cannot hover, so a tap shows the logo, as a link to its view.
    if (event.pointerType === "touch") tell.point(...place(event));
    else tell.open(...place(event));
  });
  element.addEventListener("pointercancel", (event) => held.delete(event.pointerId));
  element.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch" && !held.size) tell.leave();
  });
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? LINE : 1) * (event.ctrlKey ? 4 : 1); // ctrlKey: a pinch on a touchpad
      tell.zoom(Math.exp(-pixels * WHEEL), ...place(event));
    },
    { passive: false },
  );
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const middle = [element.clientWidth / 2, element.clientHeight / 2];
    const deeds = {
      ArrowLeft: () => tell.pan(STEP, 0),
      ArrowRight: () => tell.pan(-STEP, 0),
      ArrowUp: () => tell.pan(0, STEP),
      ArrowDown: () => tell.pan(0, -STEP),
      "+": () => tell.zoom(1.5, ...middle),
      "=": () => tell.zoom(1.5, ...middle),
      "-": () => tell.zoom(1 / 1.5, ...middle),
      0: () => tell.all(),
      Enter: () => tell.open(...middle, true),
    };
    const deed = deeds[event.key];
    if (!deed) return;
    event.preventDefault();
    deed();
    if (event.key !== "Enter") tell.point(...middle, true);
  });
}
