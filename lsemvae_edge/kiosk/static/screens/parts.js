/** What screens are made of. */

import { button, el } from "../dom.js";

/**
 * A screen: what to do in large type, what it is about, and what may be pressed.
 * @param {string} name For style and tests.
 * @param {Object} parts
 * @param {string} parts.title The one instruction.
 * @param {Array<Node|null>} parts.content
 * @param {Array<Node|null>} [parts.actions] Left to right; the main one last.
 */
export function screen(name, { title, content, actions = [] }) {
  const heading = el("h1", { class: "title", text: title, tabindex: -1 });
  const element = el(
    "section",
    { class: `screen screen-${name}`, "data-testid": `screen-${name}` },
    heading,
    el("div", { class: "content" }, ...content),
    actions.length ? el("div", { class: "actions" }, ...actions) : null,
  );
  return { element, heading };
}

/** A button that asks the server for something. */
export function acts(kiosk, name, label, facts = {}, values = {}) {
  return button(label, () => kiosk.act(name, values), { "data-testid": name, ...facts });
}

/** One of several large choices. */
export function choice(label, press, facts = {}) {
  return button(label, press, { kind: "choice", ...facts });
}

/** A drawing of ours. */
export function drawing(name, says) {
  return el("img", { class: "drawing", src: `/static/drawings/${name}.svg`, alt: says, draggable: "false" });
}
