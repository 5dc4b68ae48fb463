// What the neighbours of a logo say that it is: the vote of those that have a name.

import { nameOf } from "./names.js";
import * as service from "./service.js";

export const VOTERS = 20; // neighbours

// Returns `{value, share, voting}`: the name with the most votes, its share of the votes of named neighbours, and their share
// of all votes; null if none of them has a name.
export function verdictOf(vote) {
  const named = vote.shares.filter(({ value }) => value !== null);
  const voting = named.reduce((sum, { share }) => sum + share, 0);
  return named.length && voting > 0 ? { value: named[0].value, share: named[0].share / voting, voting } : null;
}

// Returns the verdict on one logo, null without one; errors count as none.
export async function saying(id, attribute, index) {
  const votes = await service.predictions([id], attribute, VOTERS, index).catch(() => new Map());
  return votes.has(id) ? verdictOf(votes.get(id)) : null;
}

// Marks the tiles of the neighbours that decided a verdict; returns their ids.
export async function markDeciders(grid, verdict) {
  const items = [...grid.querySelectorAll(".item")].slice(0, VOTERS);
  const ids = items.map((li) => li.querySelector(".tile").dataset.logo);
  const names = await Promise.all(ids.map((id) => nameOf(id).catch(() => null)));
  return ids.filter((id, i) => {
    const decided = names[i] === verdict.value;
    items[i].classList.toggle("decided", decided);
    return decided;
  });
}
