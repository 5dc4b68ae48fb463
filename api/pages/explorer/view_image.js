// An image of the user's, or one at an address: a box drawn on it, and the logos nearest to what the box holds.

import { BoxEditor } from "./box_editor.js";
import { make } from "./elements.js";
import { emptyGrid } from "./neighbours.js";
import { problem } from "./notices.js";
import { headOfResults, showNeighbours } from "./results.js";
import * as service from "./service.js";
import { orientationIn } from "./stored_pixels.js";
import { addressCall, imageCall } from "./subject.js";

// `image` is a `PickedImage`, or `{address, url, box}`. If its `orientation` is missing, the first answer tells it.
export async function showImage(page, image, chooser) {
  const { view } = page;
  const left = page.signal;
  const title = image.address ? "An image of the web" : "Your image";
  const results = make("section", { className: "results", "aria-label": "Nearest logos" });
  const call = make("div");
  let searching = new AbortController();
  const search = async (box) => {
    image.box = box;
    searching.abort();
    searching = new AbortController();
    const asked = AbortSignal.any([searching.signal, left]);
    call.replaceChildren(image.address ? addressCall(view, box, image.address) : imageCall(view, box, image.name, image.blob.type));
    results.replaceChildren(headOfResults(page), emptyGrid(view.count));
    try {
      const { rows, orientation } = await service.neighboursOfImage(view, image, box, asked);
      image.orientation ??= await orientationIn(image.url, orientation, image.blob?.type);
      if (asked.aborted) return;
      editor.layOut();
      await showNeighbours(page, results, rows);
    } catch (error) {
      if (asked.aborted) return;
      if (box === null && error.status === 400) page.showOnly(problem(error, view, page.retry, chooser()));
      else results.replaceChildren(problem(error, view, page.retry));
    }
  };
  const editor = new BoxEditor(image, search);
  const turned = image.turned ? make("p", { className: "help" }, "The camera marked this photo as rotated, so the page turned it upright.") : null;
  const source = image.address ? make("p", { className: "help source" }, image.address) : null;
  const head = make("div", { className: "head" }, make("h1", { tabIndex: -1 }, title), source, editor.element, turned);
  page.show(make("section", { className: "subject", "aria-label": title }, head, make("div", { className: "more" }, call)), results);
  page.offer({ compare: (ids) => page.goTo({ logo: ids[0], with: ids[1] }) });
  await search(image.box);
}
