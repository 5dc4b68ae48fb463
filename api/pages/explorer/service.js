// The routes that the page calls. Ids are strings everywhere in the page, because they may be above 2^53.

import { parseExactly } from "./exact_json.js";

const API = new URL("api/v1/ann", document.baseURI).href;
const KEPT_ANSWERS = 40; // so that going back needs no request

// The beginnings of error titles of the service.
export const INDEX_UNAVAILABLE = "index unavailable";
export const UNKNOWN_INDEX = "unknown index";

export class ServiceError extends Error {
  constructor(status, title, description = "") {
    super(description ? `${title}: ${description}` : title);
    Object.assign(this, { status, title, description });
  }
}

const kept = new Map();

export function addressOf(path, query = {}) {
  const words = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const written = (value) => [value].flat().map(encodeURIComponent).join(","); // encodes commas within a value
  const search = words.map(([name, value]) => `${name}=${written(value)}`).join("&");
  return API + path + (search && `?${search}`);
}

export const queryOfLogo = (view) => addressOf(`/${view.logo}`, { count: view.count + 1, index: view.index });
export const queryOfImage = (view, box) =>
  addressOf("/from_image", { bounding_box: box && box.map((x) => +x.toFixed(5)), count: view.count, index: view.index });

export function neighboursOfLogo(view, signal) {
  const address = queryOfLogo(view);
  return once(address, () => ask(address, { signal }));
}

// `image` is a `PickedImage`.
export function neighboursOfImage(view, image, box, signal) {
  const address = queryOfImage(view, box);
  const headers = { "Content-Type": image.blob.type || "image/jpeg" };
  return once(`${image.url} ${address}`, () => ask(address, { method: "POST", body: image.blob, headers, signal }));
}

async function once(question, asked) {
  if (kept.has(question)) return kept.get(question);
  const answer = listed(await asked());
  kept.set(question, answer);
  if (kept.size > KEPT_ANSWERS) kept.delete(kept.keys().next().value);
  return answer;
}

export async function randomLogo(index) {
  const [first] = listed(await ask(addressOf("", { count: 1, index }), { cache: "no-store" }));
  return first?.id ?? null;
}

export const status = (index) => ask(addressOf("/status", { index }), { cache: "no-store" });

// Returns the map: `{generation, ids, x, y}`, with ids as strings; null if the index has none.
export async function map(index) {
  try {
    const { generation, logo_ids: ids, x, y } = await ask(addressOf("/map", { index }));
    return { generation, ids: ids.map(String), x, y };
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// Returns the provenance of logos: a Map of id to `{image_url, bounding_box}`.
export async function provenance(ids) {
  const answer = await ask(addressOf("/provenance", { logo_ids: ids }));
  return new Map(Object.entries(answer.provenance));
}

// Drops all kept answers, because the index has changed.
export const forget = () => kept.clear();

const listed = (answer) => answer.results.map((row) => ({ id: String(row.logo_id), distance: row.distance }));

async function ask(address, options) {
  let answer, text;
  try {
    answer = await fetch(address, options);
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "The service does not answer", "It may be starting, or the network may be down.");
  }
  let body;
  try {
    body = parseExactly(text);
  } catch {
    throw new ServiceError(answer.status, `The service answered ${answer.status}`, "The answer is not JSON.");
  }
  if (!answer.ok) throw new ServiceError(answer.status, body.title ?? `${answer.status}`, body.description);
  return body;
}
