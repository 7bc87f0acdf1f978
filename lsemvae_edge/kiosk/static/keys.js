/** Keys: a keyboard alone is enough, and a barcode reader types only where an id is asked for. */

/** A reader types a character every few milliseconds and ends with Enter; nobody types so fast. */
const READER_MS = 80;

/**
 * Listen to the keys of the whole page.
 * @param {Object} where
 * @param {function(): (function(string): void)|null} where.typing Returns what takes characters now, if anything does.
 * @param {function(): void} where.escape Called for Escape.
 */
export function listen({ typing, escape }) {
  let typed = -Infinity;
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const isCharacter = event.key.length === 1 && event.key !== " ";
      const take = typing();
      const isField = event.target instanceof HTMLInputElement;
      if (event.key === "Enter" && event.repeat) {
        // A key that is held down must not answer the next question too.
        event.preventDefault();
        event.stopPropagation();
        return;
      }
      if (event.key === "Enter" && !take && !isField && event.timeStamp - typed < READER_MS) {
        // The Enter of a reader that was used where no id is asked for presses no button.
        event.preventDefault();
        event.stopPropagation();
        return;
      }
      if (isCharacter) typed = event.timeStamp;
      if (take && !isField && (isCharacter || event.key === "Backspace" || isReadersEnter(event, typed))) {
        event.preventDefault();
        take(event.key);
        return;
      }
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) escape();
    },
    true,
  );
}

function isReadersEnter(event, typed) {
  return event.key === "Enter" && event.timeStamp - typed < READER_MS;
}
