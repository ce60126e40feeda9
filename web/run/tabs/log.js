/**
 * One log as the tabs read it: who wants it, and how far each of them is.
 *
 * A batch of lines goes to every tab that stands inside it or at its beginning, without the lines
 * that the tab has; one that stands before it is left for the next errand. So whichever connection
 * brings a batch, a tab gets every line once and in order.
 */

export const WINDOW = 1_000_000; // characters on their way to a tab that has not taken them yet
export const TAKE_MS = 2000; // so long is waited for a tab to take something

/** What one tab wants of one log. */
export class Reading {
  state = "connecting";
  caughtUp = false;
  /** The run as the list told of it when this tab had read all of it; see `Lanes`. */
  seen = "";
  #untaken = 0;

  /**
   * @param {import("./hub.js").Client} client
   * @param {number} id the tab's own name for it
   * @param {number} offset after the last line it has
   */
  constructor(client, id, offset) {
    Object.assign(this, { client, id, offset });
  }

  /** Whether the tab is awake and takes what it is sent. */
  get open() {
    return this.client.awake && this.#untaken < WINDOW;
  }

  /**
   * Sends lines, all behind `offset`.
   * @param {import("../event-stream.js").Line[]} lines
   */
  send(lines) {
    const text = lines.map(({ data }) => data).join("\n");
    const skipped = lines.reduce((sum, line) => sum + line.skipped, 0);
    this.offset = lines.at(-1).id;
    this.#untaken += text.length;
    this.say({ type: "lines", text, offset: this.offset, skipped });
  }

  /** The tab has taken so many characters. */
  took(count) {
    this.#untaken -= count;
  }

  /** A connection that comes again is "back" for those who saw it go. */
  tell(state) {
    const known = state === "live" ? this.state : "";
    const next = known === "gone" || known === "back" ? "back" : state;
    if (next === this.state || !this.client.awake) return;
    this.state = next;
    this.say({ type: "state", state: next });
  }

  tellCaughtUp() {
    if (this.caughtUp) return;
    this.caughtUp = true;
    this.say({ type: "caught-up" });
  }

  restart() {
    Object.assign(this, { offset: 0, caughtUp: false, seen: "" });
    this.say({ type: "restart" });
  }

  say(message) {
    this.client.say({ ...message, reading: this.id });
  }
}

/** One log and its readings. */
export class SharedLog {
  /** @type {Set<Reading>} */
  readings = new Set();
  state = "connecting";
  writer = "unknown";
  #waiting = new Set();

  /** @param {string} run */
  constructor(run) {
    this.run = run;
  }

  /** @returns {Reading[]} those of tabs that are awake */
  get awake() {
    return [...this.readings].filter(({ client }) => client.awake);
  }

  /**
   * Hands out lines that follow `start`; waits for the quickest tab when none takes any more.
   * @param {number} start
   * @param {import("../event-stream.js").Line[]} lines
   */
  async hand(start, lines) {
    const end = lines.at(-1).id;
    for (const reading of this.readings) {
      const { offset } = reading;
      if (!reading.open || offset < start || offset >= end) continue;
      reading.send(offset === start ? lines : lines.filter(({ id }) => id > offset));
    }
    const there = this.awake.filter(({ offset }) => offset >= end);
    if (there.length && !there.some(({ open }) => open)) await this.#untilTaken();
  }

  /** A tab took something, or left: whoever waits for it goes on. */
  stir() {
    for (const go of this.#waiting) go();
  }

  tell(state) {
    this.state = state;
    for (const reading of this.readings) reading.tell(state);
  }

  tellWriter(writer) {
    this.writer = writer;
    for (const reading of this.awake) reading.say({ type: "writer", writer });
  }

  restart() {
    for (const reading of this.readings) if (reading.offset) reading.restart();
  }

  /** A last word for those who have read as far as `offset`, and nothing more after it. */
  finish(state, offset) {
    for (const reading of this.readings) {
      if (reading.offset < offset) continue;
      reading.say({ type: "state", state });
      this.readings.delete(reading);
    }
  }

  #untilTaken() {
    return new Promise((resolve) => {
      const go = () => {
        clearTimeout(timer);
        this.#waiting.delete(go);
        resolve();
      };
      const timer = setTimeout(go, TAKE_MS);
      this.#waiting.add(go);
    });
  }
}
