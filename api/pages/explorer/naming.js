// The bar of the selection: name the selected logos, remove their names, compare or delete them; and undo.

import { combobox } from "./combobox.js";
import { make, say } from "./elements.js";
import { attributeShown, complete, nameNow, rename } from "./names.js";
import { ServiceError } from "./service.js";
import { clear, select, selectedIds, viewNow, visibleItems } from "./selection.js";

const counted = (ids) => (ids.length === 1 ? "1 logo" : `${ids.length} logos`);

class SelectionBar {
  constructor() {
    this.count = make("strong");
    this.field = make("input", { id: "new-name", placeholder: "Name", maxLength: 256, "aria-label": "Name for the selected logos", enterkeyhint: "done" });
    const button = (text, act, className = "") => make("button", { type: "button", className, onclick: act }, text);
    this.submit = make("button", { type: "submit", className: "primary" }, "Name");
    this.remove = button("Remove name", () => this.#rename(null));
    this.all = button("Select all", () => select(visibleItems()));
    this.compare = button("Compare", () => viewNow().compare(selectedIds()));
    this.delete = button("Delete", () => viewNow().delete(selectedIds()), "danger");
    this.done = button("Done", clear);
    this.told = make("p", { className: "told" });
    this.form = make("form", { className: "name-form" }, make("div", { className: "options-above" }, this.field), this.submit);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = this.field.value.trim();
      if (name) this.#rename(name);
      else this.field.focus();
    });
    combobox(this.field, async (text) =>
      (await complete(text)).map(({ value, logos }) => ({ text: value, note: String(logos), take: () => ((this.field.value = value), this.#offer()) })),
    );
    this.field.addEventListener("input", () => this.#offer());
    this.controls = make("div", { className: "controls" }, this.count, this.all, this.form, this.remove, this.compare, this.delete, this.done);
    this.element = make("section", { className: "selection", "aria-label": "Selected logos", onkeydown: (event) => event.key === "Escape" && clear() }, this.told, this.controls);
    addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
      this.told.querySelector(".undo")?.click();
    });
  }

  // Goes with the view that it was shown for.
  end() {
    this.told.replaceChildren();
    this.field.value = "";
    this.element.remove();
  }

  show(ids) {
    this.controls.hidden = !ids.length;
    if (!ids.length) {
      if (!this.told.childNodes.length) this.element.remove();
      return;
    }
    if (!this.element.isConnected) document.body.append(this.element);
    this.told.replaceChildren();
    this.count.textContent = `${ids.length} selected`;
    this.field.placeholder = `Their ${attributeShown() === "value" ? "name" : attributeShown()}`;
    if (!this.field.value) this.field.value = viewNow().suggestion?.() ?? "";
    this.remove.hidden = !ids.some((id) => nameNow(id) !== null);
    this.compare.hidden = ids.length !== 2 || !viewNow().compare;
    this.delete.hidden = !viewNow().delete;
    this.#offer();
  }

  #offer() {
    const name = this.field.value.trim();
    this.submit.textContent = name ? `Name ${selectedIds().length === 1 ? "it" : "them"}` : "Name";
  }

  async #rename(name) {
    const ids = selectedIds();
    await this.#change(new Map(ids.map((id) => [id, name])), name === null ? `${counted(ids)}: name removed` : `${counted(ids)} named ${name}`);
  }

  async #change(changes, done) {
    this.element.ariaBusy = "true";
    for (const control of this.controls.querySelectorAll("button, input")) control.disabled = true;
    let outcome = null;
    let error = null;
    try {
      outcome = await rename(changes);
    } catch (caught) {
      if (!(caught instanceof ServiceError)) throw caught;
      error = caught;
    } finally {
      this.element.ariaBusy = "false";
      for (const control of this.controls.querySelectorAll("button, input")) control.disabled = false;
    }
    if (error) return this.#tell(`Nothing was changed: ${error.message}`, "bad");
    const gone = outcome.gone.length ? `; ${counted(outcome.gone)} no longer stored` : "";
    clear();
    this.field.value = "";
    const undo = make("button", { type: "button", className: "undo", onclick: () => this.#undo(outcome.undo) }, "Undo");
    this.#tell(`${done}${gone}.`, "", outcome.undo.size ? undo : null);
  }

  async #undo(changes) {
    await this.#change(changes, "Undone");
  }

  // Says what happened, next to what can be done about it.
  #tell(text, kind, action = null) {
    const close = make("button", { type: "button", className: "icon", "aria-label": "Close", onclick: () => (this.told.replaceChildren(), this.show(selectedIds())) }, "×");
    this.told.className = `told ${kind}`;
    this.told.setAttribute("role", kind ? "alert" : "status");
    this.told.replaceChildren(make("span", {}, text), ...(action ? [action] : []), close);
    if (!this.element.isConnected) document.body.append(this.element);
    this.controls.hidden = !selectedIds().length;
    say(text);
    if (!kind) (action ?? close).focus({ preventScroll: true });
  }
}

export const bar = new SelectionBar();
