// Notices for errors and for empty indexes: what is wrong, and what to do.

import { write } from "./address.js";
import { link, make, whole } from "./elements.js";
import { INDEX_UNAVAILABLE, NO_EMBEDDER, ServiceError, UNKNOWN_INDEX } from "./service.js";

export const FEWEST_ON_A_MAP = 50; // FEWEST_LOGOS of index/map/logo_map.py

const EXAMPLE = (base) => `curl ${base}api/v1/ann/add \\
  -H 'Content-Type: application/json' \\
  -d '{"image_url": "https://example.org/photo.jpg",
       "logos": [{"id": 1, "bounding_box": [0.1, 0.2, 0.4, 0.6]}]}'`;

export function notice(title, text, { command, action, bad = false } = {}) {
  return make(
    "section",
    { className: bad ? "notice bad" : "notice", role: bad ? "alert" : null },
    make("h2", {}, title),
    text ? make("p", {}, text) : null,
    command ? make("pre", { tabIndex: 0 }, make("code", {}, command)) : null,
    action ?? null,
  );
}

// `instead` is what to do other than trying again.
export function problem(error, view, retry, instead = null) {
  const again = make("button", { type: "button", onclick: retry }, "Try again");
  if (!(error instanceof ServiceError)) {
    // A module of the page is missing or does not match the others: the service is down, or has been upgraded.
    console.error(error);
    const reload = make("button", { type: "button", onclick: () => location.reload() }, "Reload the page");
    return notice("This part of the page is missing", "The service may be down, or newer than the page.", { action: reload, bad: true });
  }
  if (error.status === 0) return notice(error.title, error.description, { action: again, bad: true });
  if (error.status === 404 && view.logo)
    return notice("Unknown logo", `No logo with the id ${view.logo} is stored.`);
  if (error.status === 400 && error.title.startsWith(UNKNOWN_INDEX))
    return notice("Unknown index", `There is no index named ${view.index}.`, {
      action: link(write({ ...view, index: null }), {}, "Search the default index"),
    });
  if (error.title === INDEX_UNAVAILABLE)
    return notice("The index cannot be searched", error.description || error.title, {
      command: "python manage.py verify          # names what is damaged\npython manage.py generate-index  # builds a new index",
      action: again,
      bad: true,
    });
  if (error.title === NO_EMBEDDER) return notice("This collection cannot be searched by image", "Its vectors were made elsewhere: the service cannot make one of an image. Find a logo by its id or its name.");
  if ((view.image || view.url) && error.status < 500) return notice("The image was refused", error.description || error.title, { action: instead, bad: true });
  const title = error.title.charAt(0).toUpperCase() + error.title.slice(1);
  return notice(title, error.description, { action: again, bad: true });
}

export function noMap(status) {
  const title = "This index has no map";
  if (status.generation === null) return notice(title, "It consists of the original’s files, which contain no map.");
  if (status.logos_indexed < FEWEST_ON_A_MAP)
    return notice(title, `A map needs at least ${FEWEST_ON_A_MAP} logos; this index has ${whole(status.logos_indexed)}.`);
  return notice(title, "The next generate-index draws one, unless ANN_MAP_POINTS is 0.", { command: "python manage.py generate-index" });
}

// Returns null if the index has logos to show.
export function emptiness(status) {
  if (!status || status.error || status.logos_indexed) return null;
  if (!status.logos_stored)
    return notice("No logo is stored yet", "Add some: send the address of a photo, and the box of each logo on it in fractions of height and width (top, left, bottom, right).", {
      command: EXAMPLE(document.baseURI.replace(/[?#].*/, "")),
    });
  const logos = status.logos_stored === 1 ? "One logo is" : `${whole(status.logos_stored)} logos are`;
  return notice("No index yet", `${logos} stored. Build an index; this page shows it within seconds.`, {
    command: "python manage.py generate-index",
  });
}
