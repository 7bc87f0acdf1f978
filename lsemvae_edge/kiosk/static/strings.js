/** What people read, in the language of the page. English sentences are the keys. */

const catalogues = new Map([["en", {}]]);
let current = catalogues.get("en");
let code = "en";

/**
 * Take a language. What is not translated stays English.
 * @param {string} wanted Code of the language.
 * @returns {Promise<boolean>} Whether the language of the page is now the wanted one.
 */
export async function speak(wanted) {
  if (!catalogues.has(wanted)) {
    const answer = await fetch(`/strings/${encodeURIComponent(wanted)}.json`, { cache: "no-store" });
    if (!answer.ok) return false;
    catalogues.set(wanted, await answer.json());
  }
  current = catalogues.get(wanted);
  code = wanted;
  document.documentElement.lang = wanted;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = t(element.dataset.text);
  }
  return true;
}

/** @returns {string} Code of the language that the page speaks. */
export function language() {
  return code;
}

/**
 * Translate a sentence, then fill in its fields.
 * @param {string} text English, with fields as in "Attempt {n} of {of}".
 * @param {Object<string, string|number>} [values]
 */
export function t(text, values) {
  return fill(current[text] || text, values);
}

/** Mark a sentence for the catalogues where it is defined; it is translated where it is shown. */
export function mark(text) {
  return text;
}

function fill(text, values) {
  return values ? text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole)) : text;
}
