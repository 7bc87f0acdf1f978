/** The screens by the names that states give them. */

import { about } from "./about.js";
import { identify, locked, repeatOrOther, signIn, waiting } from "./entering.js";
import { corrections } from "./corrections.js";
import { hold, recorder } from "./preparing.js";
import { recording, samePerson, working } from "./recording.js";
import { failed, result, retry } from "./result.js";

/**
 * Each makes a screen of a state: `element`, and where it has them `update(state)`, `trace(piece)`, `close()`,
 * `escape()`, `typing` (the keypad that takes what is typed), `refused()`.
 */
export const SCREENS = {
  sign_in: signIn,
  waiting,
  identify,
  repeat_or_other: repeatOrOther,
  about,
  recorder,
  hold,
  recording,
  same_person: samePerson,
  working,
  result,
  retry,
  failed,
  locked,
  corrections,
};
