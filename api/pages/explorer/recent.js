// The last ten queries, kept by this browser for each index.

const KEPT = 10;
const keyOf = (index) => `queries ${index ?? ""}`;

// Returns the latest queries, newest first: `{title, address}`.
export function latest(index) {
  try {
    const found = JSON.parse(localStorage.getItem(keyOf(index)) ?? "[]");
    return found.filter((query) => typeof query?.title === "string" && /^\?/.test(query.address)).slice(0, KEPT);
  } catch {
    return []; // storage is disabled, or holds something else
  }
}

export function remember(index, title, address) {
  const others = latest(index).filter((query) => query.title !== title);
  try {
    localStorage.setItem(keyOf(index), JSON.stringify([{ title, address }, ...others].slice(0, KEPT)));
  } catch {
    // storage is disabled: nothing is remembered
  }
}
