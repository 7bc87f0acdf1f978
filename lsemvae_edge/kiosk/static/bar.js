/** The bar that is on every screen: where, when, whom, in which language, and who works here. */

import { button, el, icon, reveal, say } from "./dom.js";
import { t } from "./strings.js";

/** The bar above every screen. */
export class Bar {
  /**
   * @param {HTMLElement} place
   * @param {Object} kiosk Has `act(name, values)`.
   */
  constructor(place, kiosk) {
    this.place = place;
    this.kiosk = kiosk;
    this.dialog = null;
    this.made = "";
  }

  /** Show a state. */
  update(state) {
    const made = `${state.language} ${state.operator}`;
    if (this.made !== made) this.make(state);
    this.made = made;
    this.state = state;
    say(this.where, state.site || t("Six-lead ECG screening"));
    say(this.time, state.time || t("Clock not set"));
    this.time.classList.toggle("unset", !state.time);
    // The result says it larger.
    const visit = ["locked", "waiting", "sign_in", "result"].includes(state.screen) ? null : state.visit;
    reveal(this.visit, Boolean(visit));
    say(this.id, visit ? visit.study_id : "");
    say(this.attempt, visit && visit.attempt ? t("Attempt {n} of {of}", { n: visit.attempt, of: visit.of }) : "");
    reveal(this.who, Boolean(state.operator) && state.screen !== "sign_in");
    reveal(this.where, !visit);
  }

  /** Close what hangs from the bar. */
  close() {
    if (this.dialog) this.dialog.close();
  }

  make(state) {
    this.where = el("span", { class: "where" });
    this.time = el("time", { class: "time", "data-testid": "time" });
    this.id = el("b", { class: "bar-id", "data-testid": "bar-id" });
    this.attempt = el("span", { class: "bar-attempt" });
    this.visit = el("span", { class: "bar-visit" }, this.id, this.attempt);
    this.who = el(
      "button",
      {
        type: "button",
        class: "bar-button",
        "data-testid": "operator",
        "aria-label": t("Operator {code}: lock or change", { code: state.operator || "" }),
        onclick: () => this.openOperator(),
      },
      icon("person"),
      el("span", { text: state.operator || "" }),
    );
    const tongue = el(
      "button",
      {
        type: "button",
        class: "bar-button",
        "data-testid": "languages",
        "aria-label": t("Language"),
        onclick: () => this.openLanguages(),
      },
      icon("globe"),
      el("span", { text: state.languages[state.language] || state.language }),
    );
    this.place.replaceChildren(this.where, this.visit, this.time, this.who, tongue);
  }

  openLanguages() {
    const choices = Object.entries(this.state.languages).map(([code, name]) =>
      el("button", {
        type: "button",
        class: "button choice",
        lang: code,
        text: name,
        "aria-pressed": code === this.state.language ? "true" : "false",
        "data-testid": `language-${code}`,
        onclick: () => {
          this.close();
          this.kiosk.act("set_language", { code });
        },
      }),
    );
    this.open(t("Language"), el("div", { class: "choices" }, ...choices));
  }

  openOperator() {
    const does = (name) => () => {
      this.close();
      this.kiosk.act(name);
    };
    this.open(
      t("Operator {code}", { code: this.state.operator }),
      el(
        "div",
        { class: "choices" },
        button(t("Lock the page"), does("lock"), { symbol: "lock", "data-testid": "lock" }),
        button(t("Sign out: another operator"), does("sign_out"), { symbol: "person", "data-testid": "sign-out" }),
        this.state.is_supervisor && this.state.screen === "waiting"
          ? button(t("Correct a study id"), does("corrections"), { symbol: "again", "data-testid": "corrections" })
          : null,
      ),
    );
  }

  open(title, content) {
    this.close();
    const dialog = el(
      "dialog",
      { class: "dialog", "aria-label": title },
      el("h2", { text: title }),
      content,
      button(t("Close"), () => dialog.close(), { symbol: "off", "data-testid": "close" }),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (this.dialog === dialog) this.dialog = null;
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    this.dialog = dialog;
    document.body.append(dialog);
    dialog.showModal();
    const first = dialog.querySelector("[aria-pressed=true]") || dialog.querySelector("button");
    first.focus();
  }
}
