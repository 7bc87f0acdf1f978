/** Elements, written as calls. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} name Tag.
 * @param {Object<string, *>} [facts] Attributes; `on…` are listeners, `text` is the content; null and false are left out.
 * @param {...(Node|string|null)} children
 */
export function el(name, facts = {}, ...children) {
  return made(document.createElement(name), facts, children);
}

/** Make an element of SVG. */
export function svg(name, facts = {}, ...children) {
  return made(document.createElementNS(SVG, name), facts, children);
}

/**
 * A large button.
 * @param {string} label What it says.
 * @param {function(Event): void} press
 * @param {Object<string, *>} [facts] Of the element; `symbol` is drawn before the label.
 */
export function button(label, press, { symbol, kind = "plain", ...facts } = {}) {
  return el(
    "button",
    { type: "button", class: `button ${kind}`, onclick: press, ...facts },
    symbol ? icon(symbol) : null,
    el("span", { text: label }),
  );
}

/** Write a text only when it differs, so that a screen reader hears it once. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide an element. */
export function reveal(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

const SHAPES = {
  ok: "M4 13l5 5L20 6",
  off: "M5 5l14 14M19 5L5 19",
  unknown: "M8 9a4 4 0 1 1 5.5 3.7c-1 .4-1.5 1-1.5 2.3M12 19.5v.5",
  noisy: "M2 12l3-5 3 10 3-12 3 13 3-10 2 4h3",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3c3 3 3.6 6 3.6 9S15 18 12 21c-3-3-3.6-6-3.6-9S9 6 12 3z",
  person: "M12 12a4.2 4.2 0 1 0 0-8.4 4.2 4.2 0 0 0 0 8.4zM4 21c.6-4.4 3.6-6.6 8-6.6s7.4 2.2 8 6.6",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  print: "M7 9V4h10v5M6 17H4V9h16v8h-2M7 14h10v6H7z",
  next: "M5 12h13M13 6l6 6-6 6",
  back: "M19 12H6M11 6l-6 6 6 6",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 3v5h-5",
  ruler: "M3 8h18v8H3zM7 8v4M11 8v4M15 8v4M19 8v4",
  dash: "M12 3l9 9-9 9-9-9zM8 12h8",
  look: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L21 21",
  erase: "M9 6h11v12H9l-6-6zM12 9.5l5 5M17 9.5l-5 5",
  warning: "M12 3.5L22 20.5H2zM12 10v5M12 17.6v.6",
  heart: "M12 20C5 15 3 11.5 3 8.5A4.5 4.5 0 0 1 12 7a4.5 4.5 0 0 1 9 1.500c0 3-2 6.500-9 11.500z",
};

/** A small drawing beside words. */
export function icon(name) {
  return svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SHAPES[name] }),
  );
}

function made(element, facts, children) {
  for (const [name, value] of Object.entries(facts)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}
