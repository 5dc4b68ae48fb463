// JSON whose whole numbers stay exact: those of 16 digits or more become strings, since a logo's id may lie beyond 2^53,
// where a JavaScript number is no longer every whole number.

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const LONG = /^-?\d{16,}$/;
const ANY_LONG = /\d{16}/;

export function parseExactly(text) {
  if (!ANY_LONG.test(text)) return JSON.parse(text); // most answers
  return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (LONG.test(token) ? `"${token}"` : token)));
}
