// The names of logos: their values of one attribute, which the user chooses.

import { Lookup } from "./lookup.js";
import * as service from "./service.js";

const USUAL = "value"; // Robotoff's name of the attribute that says what a logo is

let attribute = USUAL;
let keys = []; // {key, logos, values}
let of; // the index that the keys were fetched for
let ready = Promise.resolve(); // until the keys are known
const values = new Lookup(async (ids, index) => {
  const found = await service.attributes(ids, index);
  return new Map([...found].map(([id, attributes]) => [id, attributes[attribute] ?? null]));
});

export const attributeShown = () => attribute;
export const attributesInUse = () => keys;
export const areNamed = () => keys.some(({ key }) => key === attribute);
export const namedLogos = () => keys.find(({ key }) => key === attribute)?.logos ?? 0;

// Fetches which attributes an index has, and shows the one asked for, the usual one, or the first.
export function useNamesOf(index, by, { again = false } = {}) {
  const mine = choose(index, by, again, () => ready === mine);
  ready = mine;
  return mine;
}

async function choose(index, by, again, isLatest) {
  const found = of !== index || again ? await service.attributeKeys(index).catch(() => []) : await keys;
  if (!isLatest()) return; // another index was opened meanwhile
  keys = found;
  of = index;
  const chosen = by ?? (keys.some(({ key }) => key === USUAL) ? USUAL : (keys[0]?.key ?? USUAL));
  if (chosen !== attribute || again) values.forget();
  attribute = chosen;
  values.use(index);
}

// Returns the name of a logo, or null.
export async function nameOf(id) {
  await ready;
  return areNamed() ? values.get(id) : nameNow(id);
}
export const nameNow = (id) => values.now(id) ?? null;

// Names logos, or removes their names: `changes` is a Map of id to name or null. Returns the changes that undo it, and the
// logos that are no longer stored. If the service refuses, nothing has changed.
export async function rename(changes) {
  const ids = [...changes.keys()];
  const before = await service.attributes(ids, of);
  const unknown = await service.setAttributes([...changes].map(([id, name]) => ({ id, attributes: { [attribute]: name } })), of);
  const gone = new Set(unknown);
  const changed = ids.filter((id) => !gone.has(id));
  for (const id of changed) values.set(id, changes.get(id));
  keys = await service.attributeKeys(of).catch(() => keys);
  dispatchEvent(new CustomEvent("nameschange", { detail: { ids: new Set(changed) } }));
  return { undo: new Map(changed.map((id) => [id, before.get(id)?.[attribute] ?? null])), gone: unknown };
}

export const complete = (prefix, count = 8) => service.attributeValues(attribute, prefix, count, of);
