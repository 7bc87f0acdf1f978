/** What came of a recording. */

import { el, icon, reveal, say } from "../dom.js";
import { t } from "../strings.js";
import { acts, fitted, screen } from "./parts.js";

/** Never a tick: that the pattern was not seen is no good news, only no news. */
const SYMBOLS = { present: "warning", not_present: "dash", inconclusive: "unknown" };
const TICK_MS = 200;

/** The result, as long as it may stand. */
export function result(state, kiosk) {
  const shown = kiosk.result;
  if (!shown) return gone();
  const left = el("p", { class: "left", "data-testid": "clears" });
  const printing = el("p", { class: "printing", role: "status", "data-testid": "printer" });
  const print = acts(kiosk, "print", t("Print"), { symbol: "print" });
  const actions = [print];
  if (shown.can_retry && shown.swap_question) {
    actions.push(
      acts(kiosk, "retry", t("Electrodes checked: record again"), { symbol: "again", "data-testid": "retry-checked" }, {
        electrodes_confirmed: true,
      }),
    );
  } else if (shown.can_retry) {
    actions.push(acts(kiosk, "retry", t("Record again"), { symbol: "again" }, { electrodes_confirmed: false }));
  }
  actions.push(acts(kiosk, "next", t("Next person"), { kind: "primary", symbol: "next", "data-focus": true }));
  const isEnglishToo = shown.headline_en !== null && shown.headline_en !== undefined;
  const whose = el(
    "div",
    { class: "whose" },
    el("b", { class: "whose-id", text: shown.study_id, "data-testid": "study-id" }),
    el("span", { class: "whose-time", text: shown.time || t("Clock not set"), "data-testid": "result-time" }),
    el("span", { class: "whose-attempt", text: t("Attempt {n} of {of}", { n: shown.attempt, of: shown.of }) }),
  );
  const made = screen("result", {
    title: shown.headline,
    content: [
      el(
        "div",
        { class: "says" },
        el("p", { class: "advice", text: shown.advice, "data-testid": "advice" }),
        isEnglishToo
          ? el("p", { class: "in-english", lang: "en", "data-testid": "in-english" },
              el("b", { text: shown.headline_en }), " ", el("span", { text: shown.advice_en || "" }))
          : null,
      ),
      el("ul", { class: "notes" }, ...shown.notes.map((note) => el("li", { text: note }))),
    ],
    actions: [el("div", { class: "foot" }, printing, left), ...actions],
  });
  made.element.dataset.outcome = shown.outcome;
  made.heading.before(whose);
  made.heading.prepend(outcomeIcon(shown.outcome));
  made.heading.dataset.testid = "headline";
  made.element.setAttribute("aria-live", "polite");
  let until = performance.now() + 1000 * (shown.clears_in_s ?? 60);
  const tick = () => {
    const seconds = Math.ceil((until - performance.now()) / 1000);
    if (seconds <= 0) {
      // The server clears it too; a page that did not hear must not keep it.
      made.element.replaceChildren(...gone().element.childNodes);
      delete made.element.dataset.outcome;
      return;
    }
    say(left, t("Leaves the screen in {n} s", { n: seconds }));
  };
  tick();
  const ticking = setInterval(tick, TICK_MS);
  const update = (next) => {
    const now = kiosk.result;
    if (!now || now.seq !== shown.seq) return;
    until = performance.now() + 1000 * (now.clears_in_s ?? 0);
    const printer = next.printer;
    reveal(print, Boolean(printer));
    print.disabled = printer?.state === "printing";
    say(printing, printer ? printer.text || "" : t("No printer: write the result down."));
  };
  return { ...made, update, fit: () => fitted(made.element), close: () => clearInterval(ticking) };
}

/** Quality refused the recording: what to do better. */
export function retry(state, kiosk) {
  const shown = state.result;
  const advice = shown?.advice || state.message?.message || "";
  const made = screen("retry", {
    title: advice || t("The recording was not good enough."),
    content: [
      shown && shown.advice_en
        ? el("p", { class: "in-english", lang: "en", "data-testid": "in-english", text: shown.advice_en })
        : null,
      el("p", {
        class: "large",
        text: t("There is no result yet. Record again."),
      }),
    ],
    actions: [
      acts(kiosk, "next", t("Next person"), { symbol: "next" }),
      acts(kiosk, "retry", t("Record again"), { kind: "primary", symbol: "again", "data-focus": true }, {
        electrodes_confirmed: false,
      }),
    ],
  });
  made.heading.prepend(icon("again"));
  return { ...made, fit: () => fitted(made.element) };
}

/** The recording gave up. */
export function failed(state, kiosk) {
  const message = state.message || {};
  const hasAttempts = !state.visit || state.visit.attempt < state.visit.of;
  const made = screen("failed", {
    title: message.message || t("The recording has stopped."),
    content: [
      el("p", { class: "large", text: message.next_step || "", "data-testid": "next-step" }),
      el("p", { class: "kept", text: t("There is no result. What was recorded is kept.") }),
    ],
    actions: [
      acts(kiosk, "next", t("Next person"), {
        symbol: "next",
        kind: hasAttempts ? "plain" : "primary",
        "data-focus": !hasAttempts,
      }),
      hasAttempts
        ? acts(kiosk, "retry", t("Record again"), { kind: "primary", symbol: "again", "data-focus": true }, {
            electrodes_confirmed: false,
          })
        : null,
    ],
  });
  made.heading.prepend(icon("warning"));
  return { ...made, saysMessage: true, fit: () => fitted(made.element) };
}

function gone() {
  return screen("gone", { title: t("The result has left the screen."), content: [] });
}

function outcomeIcon(outcome) {
  return icon(SYMBOLS[outcome] || "unknown");
}
