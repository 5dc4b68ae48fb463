// The search in the header: a logo by its id, the logos of a name, or an image by its address; and the latest queries.

import { elsewhere, isAddress, isId, write } from "./address.js";
import { combobox } from "./combobox.js";
import { whole } from "./elements.js";
import { complete } from "./names.js";
import { latest } from "./recent.js";

// `viewNow` returns the view, `go` opens an address.
export function watchSearch(form, field, viewNow, go) {
  const open = (changes) => go(write(elsewhere(viewNow(), changes)));
  const named = ({ value, logos }) => ({ text: value, note: `${whole(logos)} ${logos === 1 ? "logo" : "logos"}`, take: () => open({ value }) });
  const list = combobox(field, async (text) => {
    if (!text) return latest(viewNow().index).map(({ title, address }) => ({ text: title, note: "again", take: () => go(address) }));
    if (isAddress(text)) return [{ text, note: "search this image", take: () => open({ url: text }) }];
    const values = (await complete(text)).map(named);
    return isId(text) ? [{ text: `Logo ${text}`, note: "by its id", take: () => open({ logo: text }) }, ...values] : values;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    list.close();
    const text = field.value.trim();
    if (!text) return field.focus();
    if (isId(text)) return open({ logo: text });
    if (isAddress(text)) return open({ url: text });
    const found = await complete(text).catch(() => []);
    const same = found.find(({ value }) => value.toLowerCase() === text.toLowerCase());
    open({ value: (same ?? found[0])?.value ?? text });
  });
}
