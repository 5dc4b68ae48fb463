// The routes that the page calls. Ids are strings everywhere in the page, because they may be above 2^53.

import { parseExactly } from "./exact_json.js";

const API = new URL("api/v1/ann", document.baseURI).href;
export const AT_ONCE = 200; // ids in one request, which keeps the address below 4 KB
const KEPT_ANSWERS = 40; // so that going back needs no request
const TOKEN = "token"; // in the storage of this tab

// The beginnings of error titles of the service.
export const INDEX_UNAVAILABLE = "index unavailable";
export const UNKNOWN_INDEX = "unknown index";
export const NO_EMBEDDER = "no embedder";

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

export async function neighboursOfLogo(view, signal) {
  const address = queryOfLogo(view);
  return listed(await once(address, () => ask(address, { signal })));
}

// Returns the neighbours of an image, and its orientation: `{rows, orientation}`. `image` is a `PickedImage`, or an image
// at an address, `{address}`, that the service downloads.
export async function neighboursOfImage(view, image, box, signal) {
  const answer = await (image.address ? ofAddress(view, image.address, box, signal) : ofPicked(view, image, box, signal));
  return { rows: listed(answer), orientation: answer.orientation };
}

function ofAddress(view, image_url, box, signal) {
  const asked = JSON.stringify({ image_url, count: view.count, ...(box && { bounding_box: box }) });
  return once(`${view.index} ${asked}`, () => send(addressOf("/from_url", { index: view.index }), asked, "POST", signal));
}

function ofPicked(view, image, box, signal) {
  const address = queryOfImage(view, box);
  const headers = { "Content-Type": image.blob.type || "image/jpeg" };
  return once(`${image.url} ${address}`, () => ask(address, { method: "POST", body: image.blob, headers, signal }));
}

async function once(question, asked) {
  if (kept.has(question)) return kept.get(question);
  const answer = await asked();
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
  const found = await unlessMissing(ask(addressOf("/map", { index })));
  return found && { generation: found.generation, ids: found.logo_ids.map(String), x: found.x, y: found.y };
}

// Returns the provenance of logos: a Map of id to `{image_url, bounding_box}`.
export async function provenance(ids, index) {
  const answer = await ask(addressOf("/provenance", { logo_ids: ids, index }));
  return new Map(Object.entries(answer.provenance));
}

// Returns the attributes of logos: a Map of id to an object.
export async function attributes(ids, index) {
  const found = new Map();
  for (let start = 0; start < ids.length; start += AT_ONCE) {
    const answer = await ask(addressOf("/attributes", { logo_ids: ids.slice(start, start + AT_ONCE), index }), { cache: "no-store" });
    for (const [id, of] of Object.entries(answer.attributes)) found.set(id, of);
  }
  return found;
}

// Sets attributes of logos, `[{id, attributes}]`, all or none; returns the ids that are not stored.
export async function setAttributes(logos, index) {
  const listed = logos.map(({ id, attributes }) => `{"id":${BigInt(id)},"attributes":${JSON.stringify(attributes)}}`);
  const answer = await send(addressOf("/attributes", { index }), `{"logos":[${listed}]}`, "PUT");
  return answer.unknown.map(String);
}

export async function deleteLogos(ids, index) {
  return (await send(addressOf("/delete", { index }), `{"logo_ids":[${ids.map(BigInt)}]}`)).deleted;
}

export const attributeKeys = async (index) => (await ask(addressOf("/attributes/keys", { index }), { cache: "no-store" })).keys;
export const attributeValues = async (attribute, prefix, count, index) =>
  (await ask(addressOf("/attributes/values", { attribute, prefix: prefix || null, count, index }))).values;

// Returns some logos of a value, `{logo_ids, total}`, after an id.
export async function logosOfValue(attribute, value, count, after, index) {
  const answer = await ask(addressOf("/attributes/logos", { attribute, value, count, after, index }), { cache: "no-store" });
  return { ids: answer.logo_ids.map(String), total: answer.total };
}

// Returns the nearest logos to those of a value that have no value, as rows.
export async function candidates(attribute, value, count, index) {
  const answer = await ask(addressOf("/attributes/candidates", { attribute, value, count, index }), { cache: "no-store" });
  return listed(answer);
}

// Returns the votes of the neighbours of some logos on an attribute: a Map of id to the vote.
export async function predictions(ids, attribute, voters, index) {
  const answer = await send(addressOf("/predict", { attribute, k: voters, index }), `{"logo_ids":[${ids.map(BigInt)}]}`);
  return new Map(Object.entries(answer.results));
}

export const duplicates = (maxDistance, count, index) => ask(addressOf("/duplicates", { max_distance: maxDistance, count, index }), { cache: "no-store" });
export const storedLogos = async (index) => (await ask(addressOf("/stored", { index }))).stored.map(String);

// Returns what the build measured, or what is on the map by an attribute; null if there is none.
export const distances = (index) => unlessMissing(ask(addressOf("/distances", { index })));
export const valuesOnMap = (attribute, index) => unlessMissing(ask(addressOf("/map/values", { attribute, index }), { cache: "no-store" }));

async function unlessMissing(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// Drops all kept answers, because the index has changed.
export const forget = () => kept.clear();

const listed = (answer) => answer.results.map((row) => ({ id: String(row.logo_id), distance: row.distance }));

const send = (address, body, method = "POST", signal) =>
  ask(address, { method, body, signal, headers: { "Content-Type": "application/json" } });

const READS = /\/(batch|from_embedding|from_image|predict)$/; // by POST

// Fetches with the token that the user gave; asks for it once a visit, where the service wants one. Changes may want another.
async function fetchAllowed(address, options = {}) {
  const sent = sessionStorage.getItem(TOKEN);
  const headers = sent ? { ...options.headers, Authorization: `Bearer ${sent}` } : options.headers;
  const answer = await fetch(address, { ...options, headers });
  if (answer.status !== 401) return answer;
  if (sessionStorage.getItem(TOKEN) === sent) {
    const writes = !["GET", undefined].includes(options.method) && !READS.test(new URL(address).pathname);
    const which = writes ? "Token for changes to this service:" : "Token of this service:";
    const given = prompt(sent ? `The token ${writes ? "does not allow changes" : "is wrong"}. ${which}` : which)?.trim();
    if (!given) return answer;
    sessionStorage.setItem(TOKEN, given);
  }
  return fetchAllowed(address, options);
}

async function ask(address, options) {
  let answer, text;
  try {
    answer = await fetchAllowed(address, options);
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
