/**
 * The page's side of Python: one interpreter, one queue of runs, one state that widgets show.
 *
 *            run()               ready               run begins
 *   idle ───────────▶ loading ──────────▶ ready ───────────────────▶ running ───┐
 *                     ▲  │  ▲               ▲                        │  ▲   │   │
 *             retry() │  │  │ run() while   └────── run ends ────────┘  │   │   │ stop()
 *                     │  ▼  │ restarting                    next run    │   │   ▼
 *                   failed  └───────────────── stopped ─────────────────┘   │ stopping
 *                                                ▲  ▲                       │   │
 *                                                │  └── the run ends ───────────┤ within 250 ms
 *                                                │      (KeyboardInterrupt)     │
 *                                                └── terminate, restart ────────┘ later, or at once
 *                                                    (variables cleared)          without isolation
 *
 * Stop always stops, because terminating a worker needs nobody's consent. The interrupt comes first
 * only because it keeps the reader's variables. A restart takes the compiled module and the files
 * from here, so it downloads nothing. Every end of Python itself is a restart with a reason: its
 * worker says that it died, or, asked every two seconds, that it computes nothing and turns no more.
 * Code that computes answers nothing, for hours if it likes. What the worker says is heard as
 * heard.js allows it.
 */

import { crash, ended, FULL_BYTES, whyEmptied } from "./exit-reasons.js";
import { Errands } from "./package-fetcher.js";
import { runtime } from "./runtime-files.js";
import { mayBeSaid } from "./messages.js";
import { START_SILENCE_MS, WorkerLife } from "./life.js";

const INTERRUPT = 2;
const GRACE_MS = 250;
const PULSE_MS = 2000;
const PRINTED_LIMIT = 400_000; // characters of a run; Python stops itself at half of it
const REFUSALS_LIMIT = 200; // then its worker is ended

/**
 * @typedef {"idle" | "loading" | "ready" | "running" | "stopping" | "stopped" | "failed"} Phase
 * @typedef {{phase: Phase, share: string, starting: boolean, reason: string, cleared: boolean,
 *   fetching: string, refused: number}} Status
 *   share: how much of what is being downloaded is here, as text ("40%"); reason: why it failed or
 *   restarted; cleared: variables were lost since the last run; fetching: name of the package that
 *   the running cell waits for; refused: messages of its worker that were none of its to send
 * @typedef {{cell: string, source: string, guess?: {key: string, text: string},
 *   onStart?: () => void, onStdout?: (text: string) => void, onTable?: (json: string) => void,
 *   onPlots?: (json: string) => void}} Job guess: what the reader expects, see `unfrozen.reader.guesses`
 */

export class PythonClient extends EventTarget {
  /** @param {URL} workerUrl the worker's script; the runtime lies beside its folder */
  constructor(workerUrl) {
    super();
    this.life = new WorkerLife(workerUrl, "python", {
      hear: (data) => this.#hear(data),
      broke: (words) => this.#workerBroke(words),
      refused: (reason) => this.#fail(reason),
    });
    /** @type {Status} */
    this.status = {
      phase: "idle", share: "0%", starting: false, reason: "", cleared: false, fetching: "", refused: 0,
    };
    this.queue = [];
    this.current = null;
    this.alive = false; // the worker has said "ready"
    this.starts = 0; // one more than the starts that were given up
    this.errands = new Errands((fetching, share) => this.#set({ fetching, share }));
    this.signal = globalThis.crossOriginIsolated ? new Int32Array(new SharedArrayBuffer(4)) : null;
    this.grace = 0;
    this.pulse = 0;
    this.lastRun = 0;
  }

  /** What an interpreter is made of, once it is here: any worker of the page may start from it. */
  get files() {
    return runtime.files;
  }

  set files(files) {
    runtime.files = files;
  }

  /** name → bytes of what cells have imported. */
  get packages() {
    return this.errands.kept;
  }

  /**
   * Queue a run; Python starts at the first.
   * @param {Job} job
   * @returns {{done: Promise<import("./exit-reasons.js").Outcome>, stop: () => void}} `done` never rejects
   */
  run(job) {
    const entry = { ...job, run: ++this.lastRun };
    const done = new Promise((resolve) => (entry.settle = resolve));
    this.queue.push(entry);
    if (this.status.phase === "failed") this.retry();
    else this.#pump();
    return { done, stop: () => this.#stop(entry) };
  }

  /** Stop what runs and forget what waits. */
  stopAll() {
    for (const entry of this.queue.splice(0)) entry.settle(ended({ stopped: true }));
    if (this.current) this.#stop(this.current);
  }

  /** Start Python again after a failure; queued runs follow. */
  retry() {
    this.#endWorker();
    this.#spawn();
  }

  /** Start Python anew: what runs and what waits ends, and the names of all cells go. */
  restart() {
    if (this.status.phase === "idle") return;
    for (const entry of this.queue.splice(0)) entry.settle(ended({ stopped: true }));
    if (this.status.phase === "failed") this.retry();
    else this.#renew("You restarted Python.", { stopped: true });
  }

  /** Count what does not come from this page's own Python. */
  refuse() {
    this.#set({ refused: this.status.refused + 1 });
    if (this.status.refused % REFUSALS_LIMIT === 0) {
      this.#renew(`Python's worker sent ${REFUSALS_LIMIT} messages that it never sends, and was ended.`);
    }
  }

  #set(changes) {
    this.status = { ...this.status, ...changes };
    this.dispatchEvent(new Event("status"));
  }

  #pump() {
    if (this.current || this.queue.length === 0) return;
    if (this.starts === 0) return void this.#spawn();
    if (!this.alive) return this.#set({ phase: "loading" });
    this.current = this.queue.shift();
    const { run, cell, source, guess } = this.current;
    Object.assign(this.current, { begun: false, printed: 0 });
    this.errands.begin();
    this.#set({ phase: "running", reason: "", cleared: false });
    this.life.post({ type: "run", run, cell, source, guess });
    this.#askPulse();
  }

  async #spawn(phase = "loading") {
    const start = ++this.starts;
    this.#set({ phase, share: "0%", starting: Boolean(runtime.files), fetching: "" });
    try {
      await runtime.load((ratio) => start === this.starts && this.#set({ share: `${Math.floor(ratio * 100)}%` }));
    } catch (error) {
      if (start === this.starts) this.#fail(error.reason ?? `Python could not be loaded (${error.message}).`);
      return;
    }
    if (start === this.starts) this.#begin();
  }

  #begin() {
    if (this.signal) Atomics.store(this.signal, 0, 0); // meant for the worker that is gone
    this.#set({ starting: true });
    this.life.begin({ type: "boot", signal: this.signal, files: runtime.files });
    if (!this.life.begun) return;
    this.life.watch(START_SILENCE_MS, (seconds) => {
      this.#fail(`Python said nothing for ${seconds} seconds while starting. Try again.`);
    });
  }

  #hear(data) {
    const turn = !this.alive ? "boot" : !this.current ? "rest" : this.current.begun ? "run" : "begun";
    if (!mayBeSaid(data, turn, this.current)) this.refuse();
    else if (data.type === "ready") this.#ready();
    else if (data.type === "failed") this.#fail(data.reason);
    else if (data.type === "crashed") this.#died(data.reason);
    else if (data.type === "pulse") this.#pulsed(data.on);
    else this.#hearRun(data);
  }

  #hearRun(data) {
    if (data.type === "started") this.#started();
    else if (data.type === "stdout") this.#printed(data.text);
    else if (data.type === "table") this.current.onTable?.(data.json);
    else if (data.type === "plots") this.current.onPlots?.(data.json);
    else if (data.type === "want") void this.#bring(data);
    else if (data.type === "damaged") this.errands.drop(data.name);
    else this.#finish(data);
  }

  #ready() {
    this.life.watch(0);
    this.alive = true;
    if (this.status.phase === "loading") this.#set({ phase: "ready" });
    this.#set({ starting: false });
    this.#pump();
  }

  #started() {
    this.current.begun = true;
    this.current.onStart?.();
  }

  #printed(text) {
    this.current.printed += text.length;
    if (this.current.printed > PRINTED_LIMIT) this.refuse();
    else this.current.onStdout?.(text);
  }

  async #bring(wanted) {
    const entry = this.current;
    const answer = await this.errands.bring(wanted);
    if (entry === this.current) this.life.post({ type: "brought", ...answer });
  }

  /** Ask in a while whether Python still turns; it answers as soon as it computes nothing. */
  #askPulse() {
    clearTimeout(this.pulse);
    if (this.current) this.pulse = setTimeout(() => this.life.post({ type: "pulse" }), PULSE_MS);
  }

  /** It turns. A run that its worker knows no more of has ended without a word that is believed. */
  #pulsed(on) {
    if (this.current?.begun && on !== this.current.run) this.#renew("Python gave no result that can be shown.");
    else this.#askPulse();
  }

  #finish({ value, error, notice, guessed, changed, seconds, heapBytes }) {
    const known = { ok: error === null, value, error, notice, guessed, changed, seconds };
    const stopped = this.status.phase === "stopping";
    if (error?.type === "MemoryError" && heapBytes >= FULL_BYTES) {
      return this.#renew(whyEmptied(heapBytes), { ...known, stopped });
    }
    const entry = this.#release();
    this.#set({ phase: stopped ? "stopped" : "ready", fetching: "" });
    entry.settle(ended({ ...known, stopped }));
    this.#pump();
  }

  #stop(entry) {
    const waiting = this.queue.indexOf(entry);
    if (waiting >= 0) {
      this.queue.splice(waiting, 1);
      entry.settle(ended({ stopped: true }));
    } else if (entry === this.current && this.status.phase === "running") {
      const { fetching } = this.status;
      this.#set({ phase: "stopping" });
      if (fetching) this.errands.stop();
      else if (!this.signal) return this.#renew("", { stopped: true });
      else Atomics.store(this.signal, 0, INTERRUPT);
      this.grace = setTimeout(() => this.#renew("", { stopped: true }), GRACE_MS);
    }
  }

  /** Terminate the worker and start another at once; the run that was on ends as `how` says. */
  #renew(reason, how = { error: crash(reason) }) {
    const entry = this.#endWorker();
    this.#set({ reason, cleared: true });
    void this.#spawn("stopped");
    entry?.settle(ended({ ...how, cleared: true, reason }));
    this.#pump();
  }

  #died(reason) {
    if (this.alive) this.#renew(reason);
    else this.#fail(`Python could not start: ${reason} Try again.`);
  }

  #workerBroke(words) {
    if (this.alive) return this.#renew(`Python broke off (${words}).`);
    this.#fail(`Python could not start: ${words}. Check the connection and try again.`);
  }

  #fail(reason) {
    this.#endWorker();
    this.#set({ phase: "failed", reason, starting: false });
    for (const entry of this.queue.splice(0)) entry.settle(ended({ error: crash(reason) }));
  }

  /** The run that was on, if one was: it is no longer. */
  #release() {
    clearTimeout(this.grace);
    clearTimeout(this.pulse);
    const entry = this.current;
    this.current = null;
    return entry;
  }

  #endWorker() {
    const entry = this.#release();
    this.starts += 1; // a start that waits for its files is given up
    this.errands.stop();
    this.life.end();
    this.alive = false;
    return entry;
  }
}

/** The one interpreter of this page. */
export const python = new PythonClient(new URL("../python/worker.js", import.meta.url));
