// Creates elements without markup in strings, so that no text from the service is parsed as HTML.

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.includes("-")) element[key] = value;
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Returns a link within the page; `app.js` handles its clicks.
export function link(address, properties, ...children) {
  return make("a", { href: address, "data-go": "", ...properties }, ...children);
}

const wholes = new Intl.NumberFormat("en");
export const whole = (number) => wholes.format(number);

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not a secure context, or not permitted
  }
}

// Announces a change to screen readers.
export function say(text) {
  document.getElementById("said").textContent = text;
}
