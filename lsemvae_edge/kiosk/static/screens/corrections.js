/** A supervisor corrects the study id of a visit of today: which visit, the right id, and whether that is meant. */

import { button, el, icon } from "../dom.js";
import { keypad } from "../keypad.js";
import { t } from "../strings.js";
import { backButton } from "./entering.js";
import { choice, messageInTitle, screen } from "./parts.js";

/** So many have room, in two columns. */
const VISITS = 4;

/** Today's visits, then the keys, then the question. */
export function corrections(state, kiosk) {
  const draft = kiosk.draft;
  draft.from ??= 0;
  let visits = state.visits;
  let pad = null;
  let told = null;
  const place = el("div", { class: "correction" });
  const made = screen("corrections", { title: "", content: [place] });
  const say = messageInTitle(made);
  const result = { ...made, typing: null, escape: () => back() };
  made.heading.before(backButton(() => back()));
  const chosen = () => visits.find((one) => one.visit === draft.visit);

  const show = () => {
    result.typing = result.refused = pad = null;
    if (!chosen()) draft.visit = draft.asks = undefined;
    // What is refused is what was typed.
    say(draft.visit && !draft.asks ? told : null);
    if (!draft.visit) list();
    else if (draft.asks) ask();
    else type();
  };
  const list = () => {
    made.heading.textContent = t("Which visit has a wrong study id?");
    draft.from = Math.max(0, Math.min(draft.from, VISITS * Math.floor((visits.length - 1) / VISITS)));
    const shown = visits.slice(draft.from, draft.from + VISITS).map((one) => visitButton(one, () => go({ visit: one.visit })));
    const turn = (label, symbol, from, isThere) =>
      button(label, () => go({ from }), { symbol, disabled: !isThere, "data-testid": `visits-${symbol}` });
    place.replaceChildren(
      shown.length
        ? el("div", { class: "choices two visits", "data-testid": "visits" }, ...shown)
        : el("p", { class: "none", text: t("Nobody was recorded today.") }),
      visits.length > VISITS
        ? el(
            "div",
            { class: "actions" },
            turn(t("Later visits"), "back", draft.from - VISITS, draft.from > 0),
            turn(t("Earlier visits"), "next", draft.from + VISITS, draft.from + VISITS < visits.length),
          )
        : "",
    );
    (place.querySelector("button") || made.heading).focus({ preventScroll: true });
  };
  const type = () => {
    made.heading.textContent = t("The right study id instead of {id}", { id: chosen().study_id });
    const enter = () => go({ asks: true });
    pad = keypad({ keys: "letters", label: t("Study id"), done: t("Continue"), enter, longest: 64 });
    pad.field.value = draft.text || "";
    result.typing = pad;
    place.replaceChildren(pad.element);
    pad.field.focus({ preventScroll: true });
  };
  const ask = () => {
    const { study_id } = chosen();
    const right = draft.text.trim().toUpperCase();
    made.heading.textContent = t("Is the right one meant?");
    const correct = async () => {
      if (await kiosk.act("correct", { visit: draft.visit, text: draft.text })) go({ visit: undefined });
    };
    // What the program refuses is typed again.
    result.refused = () => go({ asks: false });
    place.replaceChildren(
      el(
        "p",
        { class: "exchange", "data-testid": "exchange" },
        el("s", { text: study_id }),
        icon("next"),
        el("b", { text: right }),
      ),
      visits.some((one) => one.visit !== draft.visit && one.study_id === right)
        ? el("p", { class: "used", "data-testid": "used" }, icon("warning"), t("This id was used today"))
        : "",
      el("p", { class: "kept", text: t("The first study id stays in the record, and your code with the change.") }),
      el(
        "div",
        { class: "choices two" },
        choice(t("No, type it again"), () => go({ asks: false }), { symbol: "back", "data-testid": "correct-no" }),
        choice(t("Yes, correct it"), correct, { symbol: "ok", "data-testid": "correct-yes" }),
      ),
    );
    // An Enter too many must not answer.
    made.heading.focus({ preventScroll: true });
  };
  const go = (to) => {
    if (pad) draft.text = pad.field.value;
    Object.assign(draft, to);
    if (!draft.visit) Object.assign(draft, { text: "", asks: false });
    show();
  };
  const back = () => {
    if (draft.asks) go({ asks: false });
    else if (draft.visit) go({ visit: undefined });
    else kiosk.act("back");
  };
  show();
  return Object.assign(result, {
    message: (message) => {
      told = message;
      say(draft.visit && !draft.asks ? told : null);
    },
    update: (next) => {
      if (JSON.stringify(next.visits) === JSON.stringify(visits)) return;
      visits = next.visits;
      if (!draft.visit) show();
    },
    close: () => {
      if (pad) draft.text = pad.field.value;
    },
  });
}

function visitButton(one, press) {
  const made = choice(one.study_id, press, { "data-testid": `visit-${one.study_id}` });
  const first = one.first_study_id;
  const said = first ? t("Instead of {id}", { id: first }) : t("Attempts: {n}", { n: one.attempts });
  made.append(el("span", { class: "address", text: `${one.time || t("Clock not set")} · ${said}` }));
  return made;
}
