/** Three questions to the person, one at a time. */

import { el } from "../dom.js";
import { t } from "../strings.js";
import { backButton } from "./entering.js";
import { acts, choice, screen } from "./parts.js";

/** Consent, age band, pacemaker. */
export function about(state, kiosk) {
  const draft = kiosk.draft;
  draft.at ??= 0;
  draft.answers ??= {};
  const answers = draft.answers;
  const place = el("div", { class: "question" });
  const steps = el("p", { class: "steps" });
  const made = screen("about", { title: "", content: [place] });
  made.heading.after(steps);
  const questions = [
    {
      asks: t("Does the person agree to the recording?"),
      name: "consent",
      choices: [
        [true, t("Yes, the person agrees"), "ok"],
        [false, t("No"), "off"],
      ],
    },
    {
      asks: t("How old is the person?"),
      name: "age_band",
      choices: [
        ["under 18", t("Under 18 years")],
        ["18-39", t("18 to 39 years")],
        ["40-64", t("40 to 64 years")],
        ["65 and over", t("65 years and over")],
      ],
    },
    {
      asks: t("Does the person have a pacemaker?"),
      name: "pacemaker",
      choices: [
        ["no", t("No")],
        ["yes", t("Yes")],
        ["unknown", t("Not known")],
      ],
    },
  ];
  const ask = () => {
    const { asks, name, choices } = questions[draft.at];
    made.heading.textContent = asks;
    steps.textContent = t("Question {n} of {of}", { n: draft.at + 1, of: questions.length });
    const buttons = choices.map(([value, label, symbol]) =>
      choice(label, () => answer(name, value), { symbol, "data-testid": `${name}-${String(value).replaceAll(" ", "-")}` }),
    );
    place.replaceChildren(el("div", { class: `choices ${choices.length > 3 ? "two" : ""}` }, ...buttons));
    buttons[0].focus({ preventScroll: true });
  };
  const answer = (name, value) => {
    answers[name] = value;
    if (name === "consent" && !value) refuse();
    else if (draft.at < questions.length - 1) {
      draft.at += 1;
      ask();
    } else kiosk.act("about", answers);
  };
  const refuse = () => {
    made.heading.textContent = t("Without the person's agreement nothing is recorded.");
    place.replaceChildren(acts(kiosk, "cancel", t("Next person"), { kind: "primary huge", symbol: "next" }));
    place.querySelector("button").focus();
  };
  const back = () => {
    if (answers.consent === false) answers.consent = undefined;
    else if (draft.at === 0) return kiosk.act("back");
    else draft.at -= 1;
    return ask();
  };
  made.heading.before(backButton(back));
  if (answers.consent === false) refuse();
  else ask();
  return { ...made, escape: back };
}
