/** Keys on the screen, for those who have no others. */

import { button, el, icon } from "./dom.js";
import { t } from "./strings.js";

const LETTERS = ["1234567890", "QWERTYUIOP", "ASDFGHJKL", "ZXCVBNM"];
const DIGITS = ["123", "456", "789", "0"];

/**
 * A field with keys below it.
 * @param {Object} facts
 * @param {"letters"|"digits"} facts.keys
 * @param {string} facts.label What is typed, for those who hear the page.
 * @param {string} facts.done What the last key says.
 * @param {boolean} [facts.secret] Show dots.
 * @param {number} [facts.longest] Most characters.
 * @param {function(string): void} facts.enter Called with what was typed.
 * @returns {Object} Has `element`, `field`, `press(key)`, `clear()`, `fits(character)` and `isSecret`.
 */
export function keypad({ keys, label, done, secret = false, longest = 24, enter }) {
  const field = el("input", {
    class: "field",
    type: secret ? "password" : "text",
    "aria-label": label,
    placeholder: label,
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
    // The keys below are the on-screen keyboard; the system's would cover them.
    inputmode: "none",
    maxlength: longest,
    "data-testid": "field",
  });
  const press = (key) => {
    if (key === "Enter") {
      if (field.value.trim()) enter(field.value.trim());
    } else if (key === "Backspace") field.value = field.value.slice(0, -1);
    else if (field.value.length < longest) field.value += keys === "letters" ? key.toUpperCase() : key;
    field.focus({ preventScroll: true });
  };
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    press("Enter");
  });
  field.addEventListener("input", () => {
    if (keys === "letters") field.value = field.value.toUpperCase();
  });
  const rows = keys === "letters" ? LETTERS : DIGITS;
  const pad = el("div", { class: `pad pad-${keys}` });
  rows.forEach((row, index) => {
    const line = el("div", { class: "pad-row" });
    const isLast = index === rows.length - 1;
    if (isLast && keys === "digits") line.append(eraser(press));
    for (const key of row) {
      line.append(el("button", { type: "button", class: "key", text: key, tabindex: -1, onclick: () => press(key) }));
    }
    if (isLast && keys === "letters") line.append(eraser(press));
    if (isLast) {
      const facts = { kind: "primary key-done", "data-testid": "enter", symbol: keys === "letters" ? "next" : "ok" };
      line.append(button(done, () => press("Enter"), facts));
    }
    pad.append(line);
  });
  return {
    element: el("div", { class: `typing typing-${keys}` }, field, pad),
    field,
    press,
    isSecret: secret,
    fits: (character) => keys === "letters" || (character >= "0" && character <= "9"),
    clear: () => {
      field.value = "";
    },
  };
}

function eraser(press) {
  return el(
    "button",
    {
      type: "button",
      class: "key key-erase",
      tabindex: -1,
      "aria-label": t("Erase the last character"),
      "data-testid": "erase",
      onclick: () => press("Backspace"),
    },
    icon("erase"),
  );
}
