/**
 * What a running cell hands to the page, coalesced: at most one batch every 50 ms, of tables and
 * plots only the newest. A cell that prints forever therefore costs the page twenty messages a
 * second until its output is full, and then none.
 *
 * Python keeps the worker busy, so no timer can run here. Three things push a batch out: the first
 * lines after a pause go at once, later ones when the next write finds 50 ms gone, and Python's
 * periodic look at the interrupt buffer calls `flushIfDue`, so that the last line before a long
 * computation is not held back. Between two runs nothing is taken.
 */

const BATCH_MS = 50;
const LINES_AT_ONCE = 4;

export class OutputBuffer {
  /** @param {(message: object) => void} post sends one message to the page */
  constructor(post) {
    this.post = post;
    this.end();
  }

  /** Start a run: `address` ({run, cell}) is put on every message of it. */
  begin(address) {
    this.end();
    this.address = address;
  }

  /** The run is over: what comes now comes late. */
  end() {
    this.address = null;
    this.text = "";
    this.json = new Map();
    this.sentAt = -Infinity;
    this.linesSent = 0;
  }

  /** Take printed text. @param {string} text */
  write(text) {
    if (!this.address || typeof text !== "string") return;
    this.text += text;
    const now = performance.now();
    if (now - this.sentAt >= BATCH_MS) {
      this.linesSent = 0;
      this.flush(now);
    } else if (text.endsWith("\n") && this.linesSent < LINES_AT_ONCE) {
      this.linesSent += 1;
      this.flush(this.sentAt);
    }
  }

  /** Take the JSON text of a table or of plots; an older one not yet sent is replaced. */
  publish(name, json) {
    if (!this.address || typeof json !== "string") return;
    this.json.set(name === "py_table_data" ? "table" : "plots", json);
    this.flushIfDue();
  }

  /** Send what is waiting if the last batch is old enough. */
  flushIfDue() {
    if (this.text === "" && this.json.size === 0) return;
    const now = performance.now();
    if (now - this.sentAt >= BATCH_MS) this.flush(now);
  }

  /** Send everything that is waiting. */
  flush(now = performance.now()) {
    if (!this.address) return;
    this.sentAt = now;
    if (this.text !== "") this.post({ type: "stdout", ...this.address, text: this.text });
    for (const [type, json] of this.json) this.post({ type, ...this.address, json });
    this.text = "";
    this.json.clear();
  }
}
