/** The kiosk's page: shows what the server says, and nothing else. */

import { Bar } from "./bar.js";
import { button, el, icon, reveal, say } from "./dom.js";
import { Current } from "./current.js";
import { listen } from "./keys.js";
import { Link } from "./link.js";
import { SCREENS } from "./screens/all.js";
import { language, mark, speak, t } from "./strings.js";

const place = Object.fromEntries(
  ["band", "bar", "stage", "message", "curtain"].map((id) => [id, document.getElementById(id)]),
);

const WORDS = {
  silent: [
    mark("The kiosk's program does not answer."),
    mark("Wait a little. If this stays, restart the kiosk. What was recorded is kept."),
  ],
  superseded: [mark("This page is open elsewhere."), mark("Go on there, or use this page instead.")],
};

const DROPPED = {
  early: [mark("The kiosk was not ready for this."), mark("Scan or type it again.")],
  reader: [mark("A code cannot be scanned here."), mark("Type your PIN, digit by digit.")],
};

/** The page: one screen at a time, and a curtain in front of it whenever it may be old. */
class Kiosk {
  constructor() {
    this.current = new Current();
    this.screen = null;
    this.shown = "";
    /** The screen that asked the server for something and waits for its answer. */
    this.asking = null;
    this.hint = null;
    /** What is typed or chosen on a screen and not sent yet; it outlives a change of language, and no screen. */
    this.draft = {};
    this.bar = new Bar(place.bar, this);
    this.link = new Link({
      state: (state) => this.take(state),
      trace: (trace) => this.current.isOfThisRecording(trace) && this.screen?.trace?.(trace),
      alive: (life) => this.current.isAlive(life),
      lost: (why) => this.blank(why),
    });
    listen({
      typing: () => (this.isBlank() || this.isBusy ? null : this.screen?.typing || null),
      escape: () => !this.isBlank() && this.screen?.escape?.(),
      dropped: (why) => this.say(DROPPED[why]),
    });
    this.watchForUse();
    this.link.open();
  }

  /** Ask the server to do something; what it cannot do is said. */
  async act(name, values = {}) {
    if (this.isBusy || this.isBlank()) return false;
    const screen = this.screen;
    this.asking = screen;
    place.stage.setAttribute("aria-busy", "true");
    const refusal = await this.link.act(name, values);
    if (this.asking === screen) {
      this.asking = null;
      place.stage.removeAttribute("aria-busy");
    }
    // An answer to a screen that is gone says nothing of this one.
    if (this.screen !== screen) return refusal === null;
    this.hint = refusal;
    if (this.current.state) this.showMessage(this.current.state);
    if (refusal) screen.refused?.();
    return refusal === null;
  }

  /** Whether the screen that is shown waits for an answer: nothing more is asked or typed until it is there. */
  get isBusy() {
    return this.asking !== null && this.asking === this.screen;
  }

  /** Say something of the page's own. */
  say([message, next_step]) {
    this.hint = { message: t(message), next_step: t(next_step) };
    if (this.current.state) this.showMessage(this.current.state);
  }

  /** Take a whole state; it is shown once its language is there. */
  async take(state) {
    if (!this.current.take(state)) return;
    if (state.language !== language()) {
      const taken = await speak(state.language).catch(() => false);
      if (!taken) document.documentElement.lang = "en";
      if (this.current.state !== state) return;
    }
    this.show(state);
  }

  show(state) {
    showBand(state.band);
    const of = [state.visit?.study_id, state.recording?.id, this.result?.seq];
    const made = [state.server, state.screen, state.language, ...of].join("\n");
    this.bar.update(state);
    const isNew = this.shown !== made;
    if (isNew) {
      this.leave();
      if (!this.shown.startsWith(`${state.server}\n${state.screen}\n`)) {
        this.hint = null;
        this.draft = {};
      }
      const make = SCREENS[state.screen];
      this.screen = make(state, this);
      place.stage.replaceChildren(this.screen.element);
      place.stage.dataset.screen = state.screen;
      this.shown = made;
    }
    this.screen.update?.(state);
    this.showMessage(state);
    for (const each of [place.stage, place.bar]) reveal(each, true);
    reveal(place.curtain, false);
    if (isNew) this.focus();
    this.screen.fit?.();
  }

  /** The result that may be shown now, if any. */
  get result() {
    return this.current.result;
  }

  focus() {
    if (document.querySelector("dialog[open]")) return;
    for (const wanted of ["[data-focus]", ".field", "h1"]) {
      const first = place.stage.querySelector(wanted);
      if (first) return first.focus({ preventScroll: true });
    }
  }

  /** Take everything clinical off the page: it is too old to be believed, or belongs to another page now. */
  blank(why) {
    this.current.forget();
    this.leave();
    this.shown = "";
    this.hint = null;
    this.draft = {};
    place.bar.replaceChildren();
    this.bar.made = "";
    for (const each of [place.stage, place.bar, place.message]) reveal(each, false);
    place.message.replaceChildren();
    delete place.message.dataset.shown;
    const [what, next] = WORDS[why];
    const words = [el("p", { class: "curtain-what", text: t(what) }), el("p", { class: "curtain-next", text: t(next) })];
    if (language() !== "en") words.push(el("p", { class: "curtain-english", lang: "en", text: `${what} ${next}` }));
    if (why === "superseded") {
      const take = () => {
        place.curtain.replaceChildren(el("p", { class: "curtain-what", text: t("Connecting to the kiosk's program.") }));
        this.link.open();
      };
      words.push(button(t("Use this page"), take, { kind: "primary", "data-testid": "take-over" }));
    }
    place.curtain.replaceChildren(icon("warning"), ...words);
    reveal(place.curtain, true);
    (place.curtain.querySelector("button") || place.curtain).focus();
  }

  leave() {
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    this.screen?.close?.();
    this.screen = null;
    place.stage.replaceChildren();
    delete place.stage.dataset.screen;
  }

  isBlank() {
    return !place.curtain.hidden;
  }

  showMessage(state) {
    let message = this.screen?.saysMessage ? this.hint : this.hint || state.message;
    if (this.screen?.message) {
      this.screen.message(message);
      message = null;
    }
    const text = message ? `${message.message}\n${message.next_step || ""}` : "";
    if (place.message.dataset.shown === text) return;
    place.message.dataset.shown = text;
    reveal(place.message, Boolean(message));
    place.message.replaceChildren();
    if (!message) return;
    place.message.append(
      icon("warning"),
      el("p", {}, el("b", { text: message.message }), " ", el("span", { text: message.next_step || "" })),
    );
  }

  /** Tell the server now and then that somebody is there, so that it does not lock while an id is typed. */
  watchForUse() {
    let told = 0;
    const tell = () => {
      const now = performance.now();
      const isNobodys = ["sign_in", "locked"].includes(this.current.state?.screen);
      if (now - told < 5000 || this.isBlank() || isNobodys) return;
      told = now;
      this.link.act("touch");
    };
    for (const event of ["pointerdown", "keydown"]) addEventListener(event, tell, { passive: true });
  }
}

function showBand(text) {
  reveal(place.band, Boolean(text));
  say(place.band, text || "");
}

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--band", `${place.band.offsetHeight}px`);
}).observe(place.band);

// "Back" must not leave the page, and a page that comes back out of the browser's memory is an old one.
// The address with the token is not left lying in the history either: the cookie opens the page again.
history.replaceState(null, "", "/");
addEventListener("click", () => history.pushState("kiosk", "", "/"), { once: true });
addEventListener("popstate", () => history.pushState("kiosk", "", "/"));
addEventListener("pageshow", (event) => event.persisted && location.reload());
addEventListener("contextmenu", (event) => event.preventDefault());

new Kiosk();
