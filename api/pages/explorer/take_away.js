// What is shown, as a file: CSV (RFC 4180) or JSON, with names and where the logos were seen.

import { nameOf } from "./names.js";
import { provenanceOf } from "./pictures.js";

const COLUMNS = ["logo_id", "distance", "name", "image_url", "bounding_box"];

// `rows` are `{id, distance}`; `title` is the name of the file.
export async function takeAway(rows, kind, title) {
  const seen = await Promise.all(
    rows.map(async ({ id, distance }) => {
      const [name, origin] = await Promise.all([nameOf(id), provenanceOf(id)].map((fact) => fact.catch(() => null)));
      return [id, distance ?? null, name, origin?.url ?? null, origin?.box ?? null];
    }),
  );
  const text = kind === "csv" ? [COLUMNS, ...seen].map(csvLine).join("") : json(seen);
  const file = new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${title}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const csvLine = (fields) => `${fields.map((field) => cell(Array.isArray(field) ? field.join(" ") : field)).join(",")}\r\n`;

function cell(field) {
  if (field === null) return "";
  const text = String(field);
  const safe = typeof field === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // a spreadsheet would run it as a formula
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// Ids above 2^53 are written as they are, not as JavaScript would round them.
const json = (rows) => {
  const lines = rows.map(([id, ...facts]) => `{"logo_id":${id},${facts.map((fact, i) => `${JSON.stringify(COLUMNS[i + 1])}:${JSON.stringify(fact)}`).join(",")}}`);
  return `[${lines.join(",\n")}]\n`;
};
