/**
 * How the tabs' readings share two connections to one server.
 *
 *   held     stays open on one run, the one that is most likely to go on: what is written there is
 *            in every tab at once
 *   errand   reads for whoever is behind: a late tab, one that was hidden, another run; then it is
 *            closed. A run that is not held is read again when the list says that it has grown.
 */

import { SharedLog } from "./log.js";

const LIVE = ["running", "paused", "stalled"];
const SLICE_MS = 2000; // so long an errand may take while another one waits
const AGAIN_MS = 1000; // after an errand that came to nothing

/** One connection: `offset` is how far it has read, `fresh` whether that is all there was. */
class Lane {
  fresh = false;
  #stop = new AbortController();

  constructor(log, offset) {
    Object.assign(this, { log, offset, began: Date.now() });
  }

  get signal() {
    return this.#stop.signal;
  }

  end() {
    this.#stop.abort();
    this.log.stir();
  }
}

export class Lanes {
  /** @type {Map<string, SharedLog>} by run; whose errand is longest ago comes first */
  #logs = new Map();
  #held = null;
  #errand = null;
  #timer = 0;

  /**
   * @param {object} server
   * @param {(run: string) => import("../runner.js").RunInfo | undefined} server.infoOf
   * @param {(source: object) => Promise<boolean>} server.follow `followLines` with this server's token
   */
  constructor(server) {
    this.server = server;
  }

  /**
   * @param {string} run
   * @param {import("./log.js").Reading} reading
   */
  add(run, reading) {
    if (!this.#logs.has(run)) this.#logs.set(run, new SharedLog(run));
    const log = this.#logs.get(run);
    log.readings.add(reading);
    if (log.writer !== "unknown") reading.say({ type: "writer", writer: log.writer });
    if (log.state !== "connecting") reading.tell(log.state);
    this.pump();
  }

  /** Nobody waits for this one any more. */
  remove(reading) {
    for (const log of this.#logs.values()) if (log.readings.delete(reading)) log.stir();
    this.pump();
  }

  /** A tab took `count` characters. */
  took(reading, count) {
    reading.took(count);
    for (const log of this.#logs.values()) if (log.readings.has(reading)) log.stir();
    this.pump();
  }

  /** A tab sleeps, or is awake again: what it missed is fetched before it counts as caught up. */
  wake(readings) {
    for (const reading of readings) Object.assign(reading, { caughtUp: false, seen: "" });
    for (const log of this.#logs.values()) {
      for (const reading of log.awake) reading.tell(log.state);
      log.stir();
    }
    this.pump();
  }

  /** Brings the connections to what is wanted now. Called whenever something has changed. */
  pump() {
    for (const [run, log] of this.#logs) if (log.readings.size === 0) this.#logs.delete(run);
    const wanted = this.#mostLikely();
    if (this.#held && this.#held.log !== wanted) this.#held.end();
    if (wanted && !this.#held) this.#hold(wanted);
    this.#settle();
    const due = this.#errand ? null : this.#due();
    if (due) this.#send(due);
  }

  #mostLikely() {
    const rank = (log) => {
      const info = this.server.infoOf(log.run);
      return [LIVE.includes(info?.status), this.#held?.log === log, info?.updated ?? 0].map(Number);
    };
    const higher = (one, other) => one.map((n, at) => n - other[at]).find((n) => n !== 0) > 0;
    const logs = [...this.#logs.values()].filter((log) => log.awake.length);
    return logs.reduce((best, log) => (best && !higher(rank(log), rank(best)) ? best : log), null);
  }

  async #hold(log) {
    const lane = new Lane(log, Math.max(...log.awake.map(({ offset }) => offset)));
    this.#held = lane;
    await this.#read(lane, false);
    this.#held = null;
    this.pump();
  }

  /** The next log that somebody is behind in. */
  #due() {
    for (const log of this.#logs.values()) {
      const behind = log.awake.filter((reading) => reading.open && this.#isBehind(log, reading));
      if (behind.length) return { log, offset: Math.min(...behind.map(({ offset }) => offset)) };
    }
    return null;
  }

  #isBehind(log, reading) {
    if (this.#held?.log === log) return reading.offset < this.#held.offset;
    return reading.seen !== this.#look(log);
  }

  /** How the list describes a run: while that stays, nothing has been written. */
  #look({ run }) {
    const info = this.server.infoOf(run);
    return `${info?.bytes} ${info?.status}`;
  }

  async #send({ log, offset }) {
    const look = this.#look(log);
    const lane = new Lane(log, offset);
    this.#errand = lane;
    clearTimeout(this.#timer);
    const answered = await this.#read(lane, true);
    if (lane.fresh) for (const one of log.awake) if (one.offset >= lane.offset) this.#done(one, look);
    if (this.#logs.get(log.run) === log) this.#logs.delete(log.run) && this.#logs.set(log.run, log);
    if (!answered) await new Promise((resolve) => (this.#timer = setTimeout(resolve, AGAIN_MS)));
    this.#errand = null;
    this.pump();
  }

  #done(reading, look) {
    reading.seen = look;
    reading.tellCaughtUp();
  }

  async #read(lane, once) {
    const { log } = lane;
    return this.server.follow(log.run, {
      once,
      offset: lane.offset,
      signal: lane.signal,
      onLines: (lines) => this.#take(lane, lines, once),
      onState: (state) => this.#hear(lane, state),
      onWriter: (writer) => log.tellWriter(writer),
      onRestart: () => {
        lane.offset = 0;
        log.restart();
      },
      onCaughtUp: () => {
        lane.fresh = true;
        this.#settle();
        if (once) this.#endIfJoined(lane);
      },
    });
  }

  async #take(lane, lines, once) {
    const start = lane.offset;
    lane.offset = lines.at(-1).id;
    await lane.log.hand(start, lines);
    if (lane === this.#held && lane.log.awake.some(({ offset }) => offset < lane.offset)) this.pump();
    if (once) this.#endIfJoined(lane);
  }

  #hear(lane, state) {
    if (lane.signal.aborted) return;
    if (["over", "refused", "missing"].includes(state)) {
      lane.log.finish(state, state === "over" ? lane.offset : 0);
    } else if (state !== "connecting") {
      if (state === "gone") lane.fresh = false;
      lane.log.tell(state === "back" ? "live" : state);
    }
  }

  /** An errand is done when it has read all and reached the held connection, or its time is up. */
  #endIfJoined(lane) {
    const held = this.#held?.log === lane.log ? this.#held : null;
    const joined = lane.fresh && (held === null || lane.offset >= held.offset);
    const others = [...this.#logs.values()].some((log) => log !== lane.log && log.awake.length);
    const late = others && Date.now() - lane.began > SLICE_MS;
    if (joined || late || !lane.log.awake.length) lane.end();
  }

  /** Who stands where the held connection stands has read all that there is. */
  #settle() {
    if (!this.#held?.fresh) return;
    const { log, offset } = this.#held;
    for (const reading of log.awake) if (reading.offset >= offset) reading.tellCaughtUp();
  }
}
