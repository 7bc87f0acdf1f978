/** Live traces: paper, sweep with an erase bar, and nothing drawn twice. */

import { el, icon, reveal, say } from "./dom.js";
import { scale } from "./ruler.js";
import { GAP, Samples } from "./samples.js";
import { t } from "./strings.js";

const MM_PER_S = 25;
const MM_PER_MV = 10;
const COLUMNS = 2;
const BAR_MM = 6;
/** Without a sample for so long, what is drawn no longer passes for live. */
const STALE_MS = 1000;
/** Behind the newest sample, so that pieces that come in bursts still run evenly. */
const DELAY_S = 0.25;
const TOO_FAR_S = 1.5;
/** Corner of the high-pass that keeps traces on their rows; the stored signal is not touched. */
const BASELINE_HZ = 0.5;

const INK = "#10212c";
const FAINT = "#8b959c";

/** Traces of one recording. */
export class Traces {
  /** @param {Object} recording Of the state. */
  constructor(recording) {
    this.paper = el("canvas", { class: "paper", "aria-hidden": "true" });
    this.sheet = el("canvas", { class: "sheet", "aria-hidden": "true" });
    this.labels = recording.leads.map((name) => {
      const state = el("span", { class: "lead-state" });
      const label = el("div", { class: "lead", "data-lead": name }, el("b", { text: name }), state);
      return { name, label, state, shown: "" };
    });
    this.veil = el("div", { class: "veil", "data-testid": "no-signal", hidden: true });
    this.note = el("div", { class: "scale", "data-testid": "scale" });
    this.element = el(
      "figure",
      { class: "traces", role: "img", "aria-label": t("Live traces of six leads"), "data-testid": "traces" },
      this.paper,
      this.sheet,
      el("div", { class: "leads" }, ...this.labels.map((each) => each.label)),
      this.veil,
      this.note,
    );
    this.id = recording.id;
    this.fs = recording.fs_hz;
    this.isCalibrated = recording.amplitude === "calibrated";
    this.nLeads = recording.leads.length;
    this.rows = Math.ceil(this.nLeads / COLUMNS);
    this.part = null;
    this.samples = new Samples(this.nLeads);
    this.level = new Float64Array(this.nLeads);
    this.lastY = new Float64Array(this.nLeads).fill(NaN);
    this.isFaint = new Uint8Array(this.nLeads);
    this.unit_mv = 0;
    this.gain = 1;
    this.drawn = -1;
    this.head = 0;
    this.arrived = -Infinity;
    this.signal = recording.signal;
    this.frame = this.frame.bind(this);
    this.resized = new ResizeObserver(() => this.measure());
    this.resized.observe(this.element);
    this.ticks = setInterval(() => this.watch(), 100);
    this.last = performance.now();
    this.request = requestAnimationFrame(this.frame);
    this.watch();
  }

  /** Nothing of this recording is drawn any more. */
  close() {
    cancelAnimationFrame(this.request);
    clearInterval(this.ticks);
    this.resized.disconnect();
  }

  /** Take how the recording stands. */
  update(recording) {
    this.signal = recording.signal;
    this.judge(recording.lead_state);
    this.watch();
  }

  /** Take a piece of the traces; one of another recording is dropped. */
  take(trace) {
    if (trace.recording !== this.id || trace.fs_hz !== this.fs) return;
    if (trace.part !== this.part) this.begin(trace.part);
    if (!this.samples.take(trace)) return;
    this.unit_mv = trace.scale_mv;
    this.arrived = performance.now();
    if (this.drawn < 0) {
      this.drawn = trace.first;
      this.head = trace.first;
    }
    if (trace.lead_state) this.judge(trace.lead_state);
  }

  /** A part has its own count of samples: the recorder restarted, or it is another person. */
  begin(part) {
    this.part = part;
    this.samples = new Samples(this.nLeads);
    this.drawn = -1;
    this.lastY.fill(NaN);
    if (this.context) this.context.clearRect(0, 0, this.width, this.height);
  }

  /** Say of each lead in shape and word how it is. */
  judge(states) {
    for (let i = 0; i < this.nLeads; i += 1) {
      const each = this.labels[i];
      const state = states[each.name] || "unknown";
      if (state === each.shown) continue;
      each.shown = state;
      each.label.dataset.state = state;
      this.isFaint[i] = state === "off" ? 1 : 0;
      each.state.replaceChildren(icon(state), el("span", { text: stateWord(state) }));
    }
  }

  /** Decide whether what is drawn may pass for live, whatever the server says. */
  watch() {
    const silent = performance.now() - this.arrived > STALE_MS;
    const live = this.signal === "live" && !silent;
    this.element.classList.toggle("stale", !live);
    reveal(this.veil, !live);
    if (live) return;
    const words = {
      connecting: t("Connecting to the recorder."),
      reconnecting: t("The link is lost. Looking for the recorder."),
    };
    say(this.veil, words[this.signal] || t("No signal"));
  }

  /** Fit paper and sheet to the place they have. */
  measure() {
    const box = this.element.getBoundingClientRect();
    const dpr = devicePixelRatio || 1;
    const width = Math.round(box.width * dpr);
    const height = Math.round(box.height * dpr);
    if (width < 1 || height < 1) return;
    const ruler = scale();
    this.mm = ruler.px_per_mm * dpr;
    for (const canvas of [this.paper, this.sheet]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.width = width;
    this.height = height;
    this.columnWidth = Math.floor(width / COLUMNS);
    this.rowHeight = height / this.rows;
    this.pxPerSample = (MM_PER_S * this.mm) / this.fs;
    this.sweep = Math.max(1, Math.floor((this.columnWidth - 2) / this.pxPerSample));
    this.context = this.sheet.getContext("2d");
    this.context.lineWidth = Math.max(1.4, 0.34 * this.mm);
    this.context.lineJoin = "round";
    this.hatch = this.context.createPattern(hatching(dpr), "repeat");
    ruled(this.paper, this, dpr);
    say(this.note, this.scaleSentence(ruler.measured));
    this.note.dataset.scale = ruler.measured ? "measured" : "assumed";
    this.lastY.fill(NaN);
    if (this.drawn >= 0) this.drawn = Math.max(this.samples.oldest, Math.floor(this.head) - this.sweep + 1);
  }

  scaleSentence(measured) {
    if (!measured) return t("Not to scale: this screen has not been measured.");
    return this.isCalibrated ? t("25 mm/s, 10 mm/mV") : t("25 mm/s, height not to scale");
  }

  frame(now) {
    this.request = requestAnimationFrame(this.frame);
    const passed = Math.min(0.25, Math.max(0, (now - this.last) / 1000));
    this.last = now;
    if (this.drawn < 0 || !this.context) return;
    const newest = this.samples.end;
    const behind = newest - DELAY_S * this.fs - this.head;
    if (behind > TOO_FAR_S * this.fs) this.head = newest - DELAY_S * this.fs;
    else this.head += passed * (this.fs + Math.max(-0.1 * this.fs, Math.min(0.25 * this.fs, behind)));
    if (this.head > newest) this.head = newest;
    const to = Math.floor(this.head);
    if (to <= this.drawn) return;
    // What a whole sweep would overwrite is not drawn first.
    const from = Math.max(this.drawn, this.samples.oldest, to - this.sweep + 1);
    if (from !== this.drawn) this.lastY.fill(NaN);
    this.fitHeight(from, to);
    this.erase(from, to);
    this.mark(from, to);
    this.stroke(from, to, 0, INK);
    this.stroke(from, to, 1, FAINT);
    this.drawn = to;
  }

  /** Pixels per step: true millimetres where volts are known, else one factor for all leads that fills a row. */
  fitHeight(from, to) {
    if (this.isCalibrated) {
      this.gain = this.unit_mv * MM_PER_MV * this.mm;
      return;
    }
    const isNewSweep = Math.floor(from / this.sweep) !== Math.floor(to / this.sweep);
    if (!isNewSweep && this.gain !== 1 && to - this.samples.begin > 2 * this.fs) return;
    let least = 1;
    for (let lead = 0; lead < this.nLeads; lead += 1) {
      let low = 0;
      let high = 0;
      let any = false;
      for (let i = Math.max(this.samples.oldest, to - Math.round(2 * this.fs)); i < to; i += 1) {
        const value = this.samples.at(lead, i);
        if (value === GAP) continue;
        if (!any || value < low) low = value;
        if (!any || value > high) high = value;
        any = true;
      }
      if (high - low > least) least = high - low;
    }
    this.gain = (0.7 * this.rowHeight) / least;
  }

  erase(from, to) {
    const bar = BAR_MM * this.mm;
    const start = Math.floor((from % this.sweep) * this.pxPerSample) + 1;
    const length = (to - from) * this.pxPerSample + bar;
    const width = this.sweep * this.pxPerSample;
    for (let column = 0; column < COLUMNS; column += 1) {
      const left = column * this.columnWidth;
      this.context.clearRect(left + start, 0, Math.min(length, width - start + 2), this.height);
      if (start + length > width) this.context.clearRect(left, 0, start + length - width, this.height);
    }
  }

  /** Hatch what is missing. */
  mark(from, to) {
    this.context.fillStyle = this.hatch;
    for (let lead = 0; lead < this.nLeads; lead += 1) {
      const left = Math.floor(lead / this.rows) * this.columnWidth;
      const top = Math.round((lead % this.rows) * this.rowHeight);
      for (let i = from; i < to; i += 1) {
        if (this.samples.at(lead, i) !== GAP) continue;
        let end = i + 1;
        while (end < to && end % this.sweep !== 0 && this.samples.at(lead, end) === GAP) end += 1;
        const x = Math.round((i % this.sweep) * this.pxPerSample);
        const until = Math.round((((end - 1) % this.sweep) + 1) * this.pxPerSample);
        this.context.fillRect(left + x, top + 1, until - x, Math.round(this.rowHeight) - 2);
        i = end - 1;
      }
    }
  }

  stroke(from, to, faint, colour) {
    const { context, samples, sweep, pxPerSample } = this;
    const smoothing = 1 - Math.exp((-2 * Math.PI * BASELINE_HZ) / this.fs);
    let any = false;
    for (let lead = 0; lead < this.nLeads; lead += 1) {
      if (this.isFaint[lead] !== faint) continue;
      if (!any) context.beginPath();
      any = true;
      const left = Math.floor(lead / this.rows) * this.columnWidth;
      const top = (lead % this.rows) * this.rowHeight;
      const middle = top + this.rowHeight * 0.54;
      const high = top + 2;
      const low = top + this.rowHeight - 2;
      let y = this.lastY[lead];
      let level = this.level[lead];
      if (y === y && from % sweep !== 0) context.moveTo(left + ((from - 1) % sweep) * pxPerSample, y);
      let isDown = y === y && from % sweep !== 0;
      for (let i = from; i < to; i += 1) {
        const value = samples.at(lead, i);
        const column = i % sweep;
        if (value === GAP) {
          y = NaN;
          isDown = false;
          continue;
        }
        if (y === y) level += smoothing * (value - level);
        else level = this.settled(lead, i, to);
        y = Math.max(high, Math.min(low, middle - (value - level) * this.gain));
        const x = left + column * pxPerSample;
        if (isDown && column !== 0) context.lineTo(x, y);
        else context.moveTo(x, y);
        isDown = true;
      }
      this.lastY[lead] = y;
      this.level[lead] = level;
    }
    if (!any) return;
    context.strokeStyle = colour;
    context.stroke();
  }

  /** Level to begin with after a gap: the mean of what follows, so that a trace does not start off its row. */
  settled(lead, from, to) {
    const end = Math.min(this.samples.end, Math.max(to, from + Math.round(this.fs)));
    let sum = 0;
    let n = 0;
    for (let i = from; i < end; i += 1) {
      const value = this.samples.at(lead, i);
      if (value === GAP) break;
      sum += value;
      n += 1;
    }
    return n ? sum / n : 0;
  }
}

/** A state of a lead, in a word. */
export function stateWord(state) {
  return { ok: t("Good"), noisy: t("Noisy"), off: t("No contact"), unknown: t("Not known") }[state] || "";
}

/** Paper with millimetres: fine lines each millimetre where there is room, strong ones each five. */
function ruled(canvas, { width, height, mm, rows, rowHeight, columnWidth, isCalibrated }, dpr) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff8f4";
  context.fillRect(0, 0, width, height);
  for (const [step, colour] of [
    [1, "#f6ddd3"],
    [5, "#e6b5a3"],
  ]) {
    if (step * mm < 3.5 * dpr) continue;
    context.fillStyle = colour;
    const line = Math.max(1, Math.round(dpr * (step === 5 ? 1 : 0.6)));
    for (let x = 0; x < width; x += step * mm) context.fillRect(Math.round(x), 0, line, height);
    for (let y = 0; y < height; y += step * mm) context.fillRect(0, Math.round(y), width, line);
  }
  context.fillStyle = "#5b6b75";
  for (let column = 1; column < COLUMNS; column += 1) context.fillRect(column * columnWidth, 0, Math.ceil(dpr), height);
  for (let row = 1; row < rows; row += 1) context.fillRect(0, Math.round(row * rowHeight), width, Math.ceil(dpr));
  if (!isCalibrated || MM_PER_MV * mm > rowHeight) return;
  context.fillStyle = "#10212c";
  context.font = `700 ${Math.round(12 * dpr)}px "Noto Sans", sans-serif`;
  context.textAlign = "right";
  context.fillText("1 mV", width - 9 * dpr, Math.round(rowHeight * 0.54 + (MM_PER_MV * mm) / 2));
  for (let row = 0; row < rows; row += 1) {
    const bottom = row * rowHeight + rowHeight * 0.54 + (MM_PER_MV * mm) / 2;
    context.fillRect(width - 6 * dpr, Math.round(bottom - MM_PER_MV * mm), 2 * dpr, Math.round(MM_PER_MV * mm));
  }
}

function hatching(dpr) {
  const size = Math.round(8 * dpr);
  const tile = new OffscreenCanvas(size, size);
  const context = tile.getContext("2d");
  context.fillStyle = "#dfe3e6";
  context.fillRect(0, 0, size, size);
  context.strokeStyle = "#9aa4ab";
  context.lineWidth = dpr;
  context.beginPath();
  for (const shift of [-size, 0, size]) {
    context.moveTo(shift, size);
    context.lineTo(shift + size, 0);
  }
  context.stroke();
  return tile;
}
