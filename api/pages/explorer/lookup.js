// Looks facts up by the ids of logos: all ids that are asked for in the same task go in one request, and answers are kept.

import { AT_ONCE } from "./service.js";

export class Lookup {
  // `fetch` takes ids and the name of an index, and returns a Map of id to fact; `believed` checks a fact.
  constructor(fetch, believed = (fact) => fact ?? null) {
    this.fetch = fetch;
    this.believed = believed;
    this.index = null;
    this.forget();
  }

  // Looks things up in another collection from now on.
  use(index) {
    if (index === this.index) return;
    this.index = index;
    this.forget();
  }

  forget() {
    this.known = new Map();
    this.wanted = new Map(); // id -> the promises that wait for it
  }

  // Returns the fact, null if there is none, or undefined if it is not known yet.
  now(id) {
    return this.known.get(id);
  }

  set(id, fact) {
    this.known.set(id, fact);
  }

  get(id) {
    if (this.known.has(id)) return Promise.resolve(this.known.get(id));
    if (this.wanted.size === 0) {
      const { known, wanted, index } = this;
      queueMicrotask(() => this.#fetchWanted(known, wanted, index));
    }
    return new Promise((resolve, reject) => {
      if (!this.wanted.has(id)) this.wanted.set(id, []);
      this.wanted.get(id).push({ resolve, reject });
    });
  }

  async #fetchWanted(known, wanted, index) {
    if (this.wanted === wanted) this.wanted = new Map();
    const waiting = [...wanted];
    for (let start = 0; start < waiting.length; start += AT_ONCE) {
      await this.#fetchSome(waiting.slice(start, start + AT_ONCE), known, index);
    }
  }

  async #fetchSome(some, known, index) {
    try {
      const found = await this.fetch(some.map(([id]) => id), index);
      for (const [id, those] of some) {
        known.set(id, await this.believed(found.get(id)));
        for (const { resolve } of those) resolve(known.get(id));
      }
    } catch (error) {
      const half = some.length >> 1;
      if (error.status === 400 && half) {
        await this.#fetchSome(some.slice(0, half), known, index); // the service may allow fewer ids per request
        return this.#fetchSome(some.slice(half), known, index);
      }
      for (const [, those] of some) for (const { reject } of those) reject(error);
    }
  }
}
