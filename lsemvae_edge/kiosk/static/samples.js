/** The newest samples of a recording, by their index. Nothing is allocated while they come in. */

/** What stands for a sample that is missing. */
export const GAP = -32768;

const CAPACITY = 16384;
const MASK = CAPACITY - 1;

const SEXTETS = new Uint8Array(128);
for (let i = 0; i < 64; i += 1) {
  SEXTETS["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".charCodeAt(i)] = i;
}

/** A ring of samples for each lead. */
export class Samples {
  /** @param {number} nLeads */
  constructor(nLeads) {
    this.nLeads = nLeads;
    this.ring = new Int16Array(nLeads * CAPACITY).fill(GAP);
    this.bytes = new Uint8Array(4096);
    this.begin = -1;
    this.end = 0;
  }

  /** Oldest index that is still there. */
  get oldest() {
    return Math.max(this.begin, this.end - CAPACITY);
  }

  /** The sample of a lead at an index that is still there. */
  at(lead, index) {
    return this.ring[lead * CAPACITY + (index & MASK)];
  }

  /**
   * Take a piece: samples (n_leads, n), little-endian 16-bit numbers in base64. What was there before is left as it was;
   * what is missing before the piece becomes a gap.
   * @returns {boolean} Whether it brought anything new.
   */
  take(trace) {
    const { first, n } = trace;
    const end = first + n;
    if (this.begin < 0) {
      this.begin = first;
      this.end = first;
    }
    if (n <= 0 || end <= this.end || trace.leads.length !== this.nLeads) return false;
    if (!this.decode(trace.data, this.nLeads * n * 2)) return false;
    for (let lead = 0; lead < this.nLeads; lead += 1) {
      const row = lead * CAPACITY;
      for (let i = Math.max(this.end, first - CAPACITY); i < first; i += 1) this.ring[row + (i & MASK)] = GAP;
      for (let i = Math.max(this.end, first, end - CAPACITY); i < end; i += 1) {
        const at = 2 * (lead * n + i - first);
        this.ring[row + (i & MASK)] = this.bytes[at] | (this.bytes[at + 1] << 8);
      }
    }
    this.end = end;
    return true;
  }

  /** Decode base64 into `bytes`. Text of another length than promised is refused. */
  decode(text, length) {
    if (text.length !== 4 * Math.ceil(length / 3)) return false;
    if (this.bytes.length < length + 3) this.bytes = new Uint8Array(2 * (length + 3));
    const bytes = this.bytes;
    for (let i = 0, o = 0; i < text.length; i += 4, o += 3) {
      const word =
        (SEXTETS[text.charCodeAt(i)] << 18) |
        (SEXTETS[text.charCodeAt(i + 1)] << 12) |
        (SEXTETS[text.charCodeAt(i + 2)] << 6) |
        SEXTETS[text.charCodeAt(i + 3)];
      bytes[o] = word >> 16;
      bytes[o + 1] = word >> 8;
      bytes[o + 2] = word;
    }
    return true;
  }
}
