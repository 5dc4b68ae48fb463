// A field that offers options while one types: the arrows choose one, Enter takes it, Escape closes the list
// (https://www.w3.org/WAI/ARIA/apg/patterns/combobox/). An option is `{text, note, take}`; `take` is called if it is taken.

import { make } from "./elements.js";

const SETTLED = 80; // milliseconds after the last key

let lists = 0;

// `offer` takes the text and returns a promise of options; it may be slow, and an answer that comes late is dropped.
export function combobox(field, offer) {
  const list = make("ul", { className: "options", role: "listbox", id: `options-${++lists}`, hidden: true, "aria-label": "Suggestions" });
  field.after(list);
  const attributes = { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id, autocomplete: "off", spellcheck: "false" };
  for (const [name, value] of Object.entries(attributes)) field.setAttribute(name, value);
  let options = [];
  let active = -1;
  let asked = 0;
  let waiting = null;

  const point = (place) => {
    active = place;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === active)));
    list.children[active]?.scrollIntoView({ block: "nearest" });
    if (active >= 0) field.setAttribute("aria-activedescendant", list.children[active].id);
    else field.removeAttribute("aria-activedescendant");
  };
  const close = () => {
    asked++;
    clearTimeout(waiting);
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    point(-1);
  };
  const take = (option) => {
    close();
    option.take();
  };
  const open = async () => {
    const mine = ++asked;
    const found = await offer(field.value.trim()).catch(() => []);
    if (mine !== asked || document.activeElement !== field) return;
    options = found;
    list.replaceChildren(
      ...options.map((option, i) =>
        make(
          "li",
          { role: "option", id: `${list.id}-${i}`, "aria-selected": "false", onpointerdown: (event) => event.preventDefault(), onclick: () => take(option) },
          make("span", { className: "text" }, option.text),
          option.note ? make("span", { className: "note" }, option.note) : null,
        ),
      ),
    );
    list.hidden = !options.length;
    field.setAttribute("aria-expanded", String(options.length > 0));
    point(-1);
  };

  field.addEventListener("input", () => {
    close(); // what is offered is for another text
    waiting = setTimeout(open, SETTLED);
  });
  field.addEventListener("focus", open);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (list.hidden) open();
      else point((active + step + options.length + (active < 0 && step < 0 ? 1 : 0)) % options.length);
    } else if (event.key === "Enter" && active >= 0) {
      event.preventDefault();
      take(options[active]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
  return { close };
}
