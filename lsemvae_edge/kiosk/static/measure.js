/** The screen is measured once, against something whose length everybody knows. */

import { button, el, say } from "./dom.js";
import { keep, LENGTHS, scale } from "./ruler.js";
import { t } from "./strings.js";

/** Open the dialog. Nothing is kept until it is confirmed. */
export function measureScreen() {
  let what = innerWidth / scale().px_per_mm > LENGTHS.ruler + 12 ? "ruler" : "card";
  let px_per_mm = scale().px_per_mm;
  const words = el("p", { class: "measure-words" });
  const bar = el("div", {
    class: "measure-bar",
    role: "slider",
    tabindex: 0,
    "aria-label": t("Length of the bar"),
    "data-testid": "measure-bar",
  });
  const room = () => Math.max(100, innerWidth - 40);
  const show = () => {
    px_per_mm = Math.min(px_per_mm, room() / LENGTHS[what]);
    const length = LENGTHS[what] * px_per_mm;
    bar.style.width = `${length.toFixed(1)}px`;
    bar.dataset.what = what;
    bar.setAttribute("aria-valuenow", length.toFixed(1));
    bar.setAttribute("aria-valuemin", 100);
    bar.setAttribute("aria-valuemax", room());
    say(
      words,
      what === "card"
        ? t("Hold a bank card against the screen. Make the bar as long as the card.")
        : t("Hold a ruler against the screen. Make the bar 100 mm long."),
    );
  };
  const by = (pixels) => () => {
    px_per_mm = Math.max(100, LENGTHS[what] * px_per_mm + pixels) / LENGTHS[what];
    show();
  };
  const switched = () => {
    what = what === "card" ? "ruler" : "card";
    say(other.querySelector("span"), otherWord());
    show();
  };
  const otherWord = () => (what === "card" ? t("Use a ruler") : t("Use a bank card"));
  const other = button(otherWord(), switched, { symbol: "ruler", "data-testid": "measure-other" });
  const step = (label, says, pixels) =>
    el("button", { type: "button", class: "key", text: label, "aria-label": says, onclick: by(pixels) });
  const dialog = el(
    "dialog",
    { class: "dialog measure", "aria-label": t("Measure this screen") },
    words,
    el("div", { class: "measure-place" }, bar),
    el(
      "div",
      { class: "measure-keys" },
      step("− −", t("Much shorter"), -10),
      step("−", t("Shorter"), -1),
      step("+", t("Longer"), 1),
      step("+ +", t("Much longer"), 10),
    ),
    el(
      "div",
      { class: "actions" },
      button(t("Cancel"), () => dialog.close(), { symbol: "off" }),
      other,
      button(t("The length is right"), () => (keep(px_per_mm), dialog.close()), {
        kind: "primary",
        symbol: "ok",
        "data-testid": "measure-done",
      }),
    ),
  );
  dialog.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
    if (event.key in steps) by(steps[event.key])();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  bar.focus();
  show();
}
