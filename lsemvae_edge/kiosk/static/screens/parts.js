/** What screens are made of. */

import { button, el, icon, reveal } from "../dom.js";

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

/** Show what the server refused in place of the title, where a message below would take the room of the keys. */
export function messageInTitle({ element, heading }) {
  const place = el("p", { class: "refusal", role: "alert", "data-testid": "refusal", hidden: true });
  heading.after(place);
  return (message) => {
    reveal(place, Boolean(message));
    reveal(heading, !message);
    element.classList.toggle("refused", Boolean(message));
    if (!message) place.replaceChildren();
    else {
      const words = el("span", {}, el("b", { text: message.message }), " ", el("span", { text: message.next_step || "" }));
      place.replaceChildren(icon("warning"), words);
    }
  };
}

/**
 * Make text smaller until it has the room it needs: sentences are longer in some languages than in others.
 * @param {HTMLElement} element Its style sizes text by `--fit`.
 */
export function fitted(element) {
  const content = element.querySelector(".content");
  for (const step of [1, 0.94, 0.88, 0.82, 0.76, 0.7, 0.65]) {
    element.style.setProperty("--fit", step);
    if (isWhole(element) && isWhole(content)) return;
  }
}

function isWhole(element) {
  return element.scrollHeight <= element.clientHeight + 1;
}

/** A drawing of ours. */
export function drawing(name, says) {
  return el("img", { class: "drawing", src: `/static/drawings/${name}.svg`, alt: says, draggable: "false" });
}
