/** While a recording is made. */

import { button, el, icon, reveal, say } from "../dom.js";
import { t } from "../strings.js";
import { Traces } from "../traces.js";
import { acts, choice, screen } from "./parts.js";

const LOW_BATTERY = 20;

/** Live traces, contact, one instruction, and how much good signal there is. */
export function recording(state, kiosk) {
  const names = { RA: t("Right hand"), LA: t("Left hand"), LL: t("Left leg") };
  const place = el("div", { class: "traces-place" });
  const contacts = Object.entries(names).map(([code, name]) => {
    const shape = el("span", { class: "shape" });
    const word = el("span", { class: "word" });
    const chip = el(
      "div",
      { class: "contact", "data-electrode": code },
      shape,
      el("span", { class: "contact-text" }, el("b", { text: name }), word),
    );
    return { code, name, chip, shape, word, shown: "" };
  });
  const done = el("div", { class: "done" });
  const progress = el("div", {
    class: "progress",
    role: "progressbar",
    "aria-valuemin": 0,
    "aria-label": t("Good signal"),
    "data-testid": "progress",
  }, done);
  const seconds = el("p", { class: "seconds", "data-testid": "seconds" });
  const extra = el("p", { class: "extra", role: "status" });
  const made = screen("recording", {
    title: "",
    content: [
      place,
      el(
        "div",
        { class: "side" },
        el("div", { class: "contacts", role: "status", "data-testid": "contacts" }, ...contacts.map((one) => one.chip)),
        el("div", { class: "gathered" }, seconds, progress),
        el(
          "div",
          { class: "side-actions" },
          button(t("Stop"), () => kiosk.act("stop"), { symbol: "ok", "data-testid": "stop", "data-focus": true }),
          acts(kiosk, "cancel", t("Cancel"), { symbol: "off" }),
        ),
      ),
    ],
  });
  made.heading.after(extra);
  made.heading.setAttribute("aria-live", "polite");
  made.heading.dataset.testid = "instruction";
  let traces = null;
  let kind = "";
  const update = (next) => {
    const now = next.recording;
    if (!now) return;
    say(made.heading, now.instruction);
    const wanted = now.id && now.fs_hz ? [now.id, now.fs_hz, now.amplitude, ...now.leads].join("\n") : "";
    if (wanted !== kind) {
      traces?.close();
      kind = wanted;
      traces = wanted ? new Traces(now) : null;
      place.replaceChildren(...(traces ? [traces.element] : []));
    }
    traces?.update(now);
    if (!traces) say(place, t("Connecting to the recorder."));
    for (const one of contacts) touch(one, now.contact[one.code] || "unknown");
    const share = Math.min(1, now.needed_s ? now.clean_s / now.needed_s : 0);
    done.style.width = `${(100 * share).toFixed(1)}%`;
    progress.setAttribute("aria-valuemax", now.needed_s);
    progress.setAttribute("aria-valuenow", Math.min(now.clean_s, now.needed_s));
    const values = { n: Math.floor(Math.min(now.clean_s, now.needed_s)), of: Math.ceil(now.needed_s) };
    say(seconds, t("Good signal: {n} of {of} s", values));
    const low = now.battery !== null && now.battery < LOW_BATTERY;
    say(extra, low ? t("Recorder's battery: {percent} %", { percent: now.battery }) : "");
    reveal(extra, low);
  };
  return {
    ...made,
    update,
    trace: (trace) => traces?.take(trace),
    close: () => traces?.close(),
    escape: () => kiosk.act("cancel"),
  };
}

/** Contact was away for long. */
export function samePerson(state, kiosk) {
  const made = screen("same_person", {
    title: t("The recorder was let go. Is it still the same person?"),
    content: [
      el(
        "div",
        { class: "choices two" },
        choice(t("Yes, the same person"), () => kiosk.act("confirm_same", { same: true }), {
          symbol: "ok",
          "data-testid": "same-yes",
        }),
        choice(t("No, another person"), () => kiosk.act("confirm_same", { same: false }), {
          symbol: "off",
          "data-testid": "same-no",
        }),
      ),
    ],
    actions: [acts(kiosk, "cancel", t("Cancel"), { symbol: "off" })],
  });
  return { ...made, escape: () => kiosk.act("cancel") };
}

/** The recording is judged and saved. */
export function working() {
  return screen("working", {
    title: t("Please wait: the recording is looked at and saved."),
    content: [el("div", { class: "busy", role: "progressbar", "aria-label": t("Please wait") }, icon("heart"))],
  });
}

function touch(one, state) {
  if (one.shown === state) return;
  one.shown = state;
  one.chip.dataset.state = state;
  one.shape.replaceChildren(icon(state));
  say(one.word, { ok: t("Contact"), off: t("No contact"), unknown: t("Not known") }[state]);
}
