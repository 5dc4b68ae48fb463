// Receives images from the user: calls `take` with each image that is chosen, dropped or pasted anywhere on the page, and
// `takeAddress` with the address of one that is pasted outside a field.

import { isAddress } from "./address.js";

export function watchForImages(chooser, field, veil, take, takeAddress) {
  const first = (files) => [...files].find((file) => file.type.startsWith("image/"));
  chooser.addEventListener("click", () => field.click());
  field.addEventListener("change", () => {
    if (field.files[0]) take(field.files[0]);
    field.value = "";
  });
  addEventListener("paste", (event) => {
    const file = first(event.clipboardData?.files ?? []);
    if (file) return take(file);
    const text = event.clipboardData?.getData("text/plain").trim() ?? "";
    if (!event.target.closest?.("input, textarea") && isAddress(text)) takeAddress(text);
  });
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) veil.hidden = false;
  });
  veil.addEventListener("dragleave", () => (veil.hidden = true));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const file = first(event.dataTransfer.files) ?? event.dataTransfer.files[0];
    if (file) take(file);
  });
}
