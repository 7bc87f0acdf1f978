/**
 * Keys: a keyboard alone is enough, and what a barcode reader types arrives whole, or not at all.
 *
 * A part of a study id may be another person's. What is typed therefore belongs to the place that took its first
 * character: if none did, or if that place goes away meanwhile, all of it is dropped, up to a pause.
 */

/** A reader types a character every few milliseconds and ends with Enter; nobody types so fast. */
const READER_MS = 80;
/** Nobody types anything any more after so long without a key: slow readers and people pause less within an id. */
const PAUSE_MS = 500;
/** No hand types that many keys of a PIN that close to each other. */
const HAND_KEYS = 3;
const HAND_MS = 40;

/**
 * Listen to the keys of the whole page.
 * @param {Object} where
 * @param {function(): (Object|null)} where.typing Returns the keypad (`keypad.js`) that takes what is typed now, if any.
 * @param {function(): void} where.escape Called for Escape.
 * @param {function(string): void} where.dropped Called when something was dropped for which the screen has a place:
 *   with "early", or with "reader" where a PIN is asked for.
 */
export function listen({ typing, escape, dropped }) {
  /** Of what is being typed: where it goes, when the last key of it came, how many came at a reader's pace. */
  let owner = null;
  let last = -Infinity;
  let fast = 0;
  let isLost = false;
  let pause = PAUSE_MS;

  /** Drop what is being typed, also what was taken of it. */
  const lose = (pad, why) => {
    owner?.clear();
    pad?.clear();
    owner = pad;
    isLost = true;
    if (pad) dropped(why);
  };

  /** Return whether a character is taken. */
  const takes = (event, pad, goesOn, gap) => {
    pause = PAUSE_MS;
    if (!goesOn) {
      owner = pad;
      isLost = pad === null;
      fast = 1;
    } else {
      fast = gap < HAND_MS ? fast + 1 : 1;
      if (!isLost && pad !== owner) lose(pad, "early");
      else if (isLost && pad && owner !== pad) {
        // The screen came in the middle of it: said once.
        owner = pad;
        dropped("early");
      }
    }
    if (!isLost && (!pad.fits(event.key) || (pad.isSecret && fast >= HAND_KEYS))) lose(pad, "reader");
    return !isLost;
  };

  document.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const stop = () => {
        event.preventDefault();
        event.stopPropagation();
      };
      const gap = event.timeStamp - last;
      const goesOn = gap < pause;
      const pad = typing();
      const isField = event.target instanceof HTMLInputElement;
      // A space presses the button that has the focus, unless it stands in the middle of a code.
      if (event.key.length === 1 && (event.key !== " " || gap < READER_MS)) {
        const isTaken = takes(event, pad, goesOn, gap);
        last = event.timeStamp;
        if (!isTaken) stop();
        else if (!isField) {
          event.preventDefault();
          pad.press(event.key);
        }
      } else if (event.key === "Enter") {
        // A key that is held down must not answer the next question too.
        if (event.repeat) return stop();
        if (!goesOn) return;
        if (isLost || pad !== owner) return stop();
        // That is the end of it; what comes at once behind it belongs to nothing that stands here.
        isLost = true;
        pause = READER_MS;
        if (!isField && gap < READER_MS) {
          stop();
          pad.press("Enter");
        }
      } else if (event.key === "Backspace" && pad) {
        if (isLost && goesOn) stop();
        else if (!isField) {
          event.preventDefault();
          pad.press("Backspace");
        }
      } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) escape();
    },
    true,
  );
}
