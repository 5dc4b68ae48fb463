// Parses JSON and keeps whole numbers exact: numbers of 16 digits or more become strings, because the id of a logo may be
// above 2^53, where JavaScript numbers lose digits.

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const LONG = /^-?\d{16,}$/;
const ANY_LONG = /\d{16}/;

export function parseExactly(text) {
  if (!ANY_LONG.test(text)) return JSON.parse(text); // most answers
  return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (LONG.test(token) ? `"${token}"` : token)));
}
