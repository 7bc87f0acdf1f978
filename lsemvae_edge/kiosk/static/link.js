/** The line to the kiosk's program: events from it, acts to it, and a watch over its silence. */

import { t } from "./strings.js";

const SILENT_MS = 2000;
const WATCH_MS = 100;
const AGAIN_MS = 500;
const GIVE_UP_MS = 6000;

/** Names of acts go to the server as they are; see docs/kiosk.md. */
export class Link {
  /**
   * @param {Object} hear Called with what arrives.
   * @param {function(Object): void} hear.state
   * @param {function(Object): void} hear.trace
   * @param {function(Object): boolean} hear.alive Returns whether it is of the server whose state is shown.
   * @param {function(string): void} hear.lost With "silent" or "superseded".
   */
  constructor(hear) {
    this.hear = hear;
    this.tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.version = 0;
    this.isFresh = false;
    this.isSuperseded = false;
    this.heard = performance.now();
    this.opened = this.heard;
    setInterval(() => this.watch(), WATCH_MS);
  }

  /** Open the line; also takes it over from another page. */
  open() {
    this.close();
    this.isSuperseded = false;
    this.opened = performance.now();
    const events = new EventSource(`/events?tab=${this.tab}`);
    this.events = events;
    const on = (name, act) =>
      events.addEventListener(name, (event) => {
        if (this.events === events) act(event.data ? JSON.parse(event.data) : null);
      });
    on("state", (state) => {
      this.heard = performance.now();
      this.isFresh = true;
      this.version = state.version;
      this.hear.state(state);
    });
    on("alive", (life) => {
      if (this.hear.alive(life)) this.heard = performance.now();
      else if (this.isFresh) this.lose();
    });
    on("trace", (trace) => this.isFresh && this.hear.trace(trace));
    on("superseded", () => {
      this.close();
      this.isSuperseded = true;
      this.isFresh = false;
      this.hear.lost("superseded");
    });
    events.onerror = () => {
      // The browser would try again by itself, in its own time; ours begins with a state, and soon.
      if (this.events === events) this.closeSoon();
    };
  }

  /**
   * Ask the server to do something.
   * @returns {Promise<null|{message: string, next_step: string}>} What it says when it cannot.
   */
  async act(act, values = {}) {
    if (!this.isFresh) return { message: t("The kiosk's program does not answer."), next_step: "" };
    const body = JSON.stringify({ ...values, tab: this.tab, act, version: this.version });
    let answer;
    try {
      answer = await fetch("/act", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body,
        cache: "no-store",
        signal: AbortSignal.timeout(GIVE_UP_MS),
      });
      return answer.ok ? null : await answer.json();
    } catch {
      // The watch sees it too, and says so over the whole page; until then nothing passes for done.
      return { message: t("The kiosk's program does not answer."), next_step: t("Look at the page, and choose again.") };
    }
  }

  watch() {
    if (this.isSuperseded) return;
    const now = performance.now();
    if (this.isFresh && now - this.heard > SILENT_MS) this.lose();
    else if (!this.isFresh && this.events && now - this.opened > GIVE_UP_MS) this.open();
    else if (!this.isFresh && !this.events && now - this.opened > AGAIN_MS) this.open();
  }

  lose() {
    this.close();
    this.isFresh = false;
    this.opened = performance.now();
    this.hear.lost("silent");
  }

  /** After an error: nothing more is heard, and the watch decides when what is shown is too old. */
  closeSoon() {
    this.close();
    this.opened = performance.now();
    if (this.isFresh) setTimeout(() => !this.events && !this.isSuperseded && this.open(), AGAIN_MS);
  }

  close() {
    if (this.events) this.events.close();
    this.events = null;
  }
}
