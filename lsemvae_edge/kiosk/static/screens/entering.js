/** Before somebody is recorded: who works here, and whose turn it is. */

import { button, el, icon, reveal, say } from "../dom.js";
import { keypad } from "../keypad.js";
import { measureScreen } from "../measure.js";
import { t } from "../strings.js";
import { acts, choice, messageInTitle, screen } from "./parts.js";

/** Somebody signs in. */
export function signIn(state, kiosk) {
  return pinScreen("sign_in", state, kiosk, null);
}

/** Hidden until the operator is back; a recording goes on meanwhile. */
export function locked(state, kiosk) {
  return pinScreen("locked", state, kiosk, state.operator);
}

/** Nobody's turn yet: no id, no result. */
export function waiting(state, kiosk) {
  const start = acts(kiosk, "start", t("Start"), { kind: "primary huge", symbol: "heart", "data-focus": true });
  const made = screen("waiting", {
    title: t("Ready for the next person"),
    content: [start],
    actions: [
      button(t("Measure this screen"), measureScreen, { kind: "quiet", symbol: "ruler", "data-testid": "measure" }),
      el("p", { class: "research", text: t("Research use, not a diagnosis.") }),
    ],
  });
  return made;
}

/** An id is typed, or read from a code. */
export function identify(state, kiosk) {
  const pad = keypad({
    keys: "letters",
    label: t("Study id"),
    done: t("Continue"),
    enter: (text) => kiosk.act("identify", { text }),
    longest: 64,
  });
  pad.field.value = kiosk.draft.text || "";
  const made = screen("identify", { title: t("Type or scan the study id"), content: [pad.element] });
  const back = () => kiosk.act("back");
  made.heading.before(backButton(back));
  return {
    ...made,
    message: messageInTitle(made),
    typing: pad,
    escape: back,
    refused: () => pad.field.select(),
    close: () => {
      kiosk.draft.text = pad.field.value;
    },
  };
}

/** The id was used today. */
export function repeatOrOther(state, kiosk) {
  const made = screen("repeat_or_other", {
    title: t("This study id was used today. Is it the same person?"),
    content: [
      el(
        "div",
        { class: "choices two" },
        acts(kiosk, "repeat", t("Same person: record again"), { kind: "choice", symbol: "again" }),
        acts(kiosk, "another", t("Another person: correct the id"), { kind: "choice", symbol: "person" }),
      ),
    ],
  });
  const back = () => kiosk.act("back");
  made.heading.before(backButton(back));
  return { ...made, escape: back };
}

/** The arrow that goes one step back. */
export function backButton(press) {
  const facts = { type: "button", class: "back", "aria-label": t("Back"), "data-testid": "back", onclick: press };
  return el("button", facts, icon("back"));
}

function pinScreen(name, state, kiosk, whoWasThere) {
  let operator = whoWasThere;
  const goesOn = el("p", { class: "goes-on", text: t("A recording goes on."), hidden: true });
  const place = el("div", { class: "who" });
  const made = screen(name, { title: "", content: [goesOn, place] });
  const result = {
    ...made,
    message: messageInTitle(made),
    typing: null,
    update: (next) => reveal(goesOn, name === "locked" && Boolean(next.is_recording)),
  };
  const enter = (pin) => {
    const isBack = name === "locked" && operator === whoWasThere;
    kiosk.act(isBack ? "unlock" : "sign_in", isBack ? { pin } : { operator, pin });
  };
  const askWho = () => {
    say(made.heading, t("Who works here?"));
    const codes = state.operators.map((code) =>
      choice(code, () => ask(code), { symbol: "person", "data-testid": `operator-${code}` }),
    );
    place.replaceChildren(el("div", { class: "choices grid" }, ...codes));
    made.element.querySelector(".back")?.remove();
    result.typing = null;
    result.escape = null;
    place.querySelector("button")?.focus();
  };
  const ask = (code) => {
    operator = code;
    say(made.heading, t("PIN of {code}", { code }));
    const pad = keypad({ keys: "digits", label: t("PIN"), done: t("Continue"), secret: true, longest: 12, enter });
    const other = button(t("Another operator"), askWho, { symbol: "person", kind: "quiet", "data-testid": "other" });
    pad.element.prepend(el("div", { class: "beside" }, pad.field, other));
    place.replaceChildren(pad.element);
    result.typing = pad;
    result.escape = askWho;
    result.refused = pad.clear;
    pad.field.focus();
  };
  if (name === "locked" && !state.needs_pin) {
    say(made.heading, t("This page is locked."));
    place.append(acts(kiosk, "unlock", t("Unlock"), { kind: "primary huge", symbol: "lock" }));
  } else if (operator) ask(operator);
  else askWho();
  return result;
}
