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
 * from this page, so it downloads nothing. Whenever Python itself ends, it is restarted with a reason: its
 * worker reports that it died, or, asked every two seconds, that it computes nothing and that its event loop
 * has stopped. Code that computes answers nothing, for hours if it likes.
 */

import { explainFullMemory, FULL_BYTES, makeOutcome, pythonError } from "./exit-reasons.js";
import { dropPackage, PackageFetcher } from "./package-fetcher.js";
import { runtime } from "./runtime-files.js";
import { WorkerClient } from "./worker-client.js";

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
 *   onPlots?: (json: string) => void}} Job guess: what the reader expects, see `unfrozen.guesses`
 */

export class PythonClient extends WorkerClient {
  #queue = [];
  #running = null;
  #alive = false; // the worker has sent "ready"
  #begun = false; // Python was started, or is being started
  #signal = globalThis.crossOriginIsolated ? new Int32Array(new SharedArrayBuffer(4)) : null;
  #fetcher = new PackageFetcher((fetching, share) => this.setStatus({ fetching, share }));
  #grace = 0;
  #pulse = 0;
  #lastRun = 0;

  /** @param {URL} workerUrl the worker's script; the runtime lies beside its folder */
  constructor(workerUrl) {
    super(workerUrl, "reader", {
      phase: "idle", share: "0%", starting: false, reason: "", cleared: false, fetching: "", refused: 0,
    });
  }

  get turn() {
    if (!this.#alive) return "boot";
    if (!this.#running) return "rest";
    return this.#running.begun ? "run" : "begun";
  }

  get current() {
    return this.#running;
  }

  /** How many runs wait for the one in progress. */
  get waiting() {
    return this.#queue.length;
  }

  async load(onProgress) {
    const loaded = await super.load(onProgress);
    if (this.#signal) Atomics.store(this.#signal, 0, 0); // meant for the worker that is gone
    return { ...loaded, signal: this.#signal };
  }

  /**
   * Queue a run; Python starts at the first.
   * @param {Job} job
   * @returns {{done: Promise<import("./exit-reasons.js").Outcome>, stop: () => void}} `done` never rejects
   */
  run(job) {
    const entry = { ...job, run: ++this.#lastRun };
    const done = new Promise((resolve) => (entry.settle = resolve));
    this.#queue.push(entry);
    if (this.status.phase === "failed") this.retry();
    else this.#pump();
    return { done, stop: () => this.#stop(entry) };
  }

  /** Stop what runs and forget what waits. */
  stopAll() {
    for (const entry of this.#queue.splice(0)) entry.settle(makeOutcome({ stopped: true }));
    if (this.#running) this.#stop(this.#running);
  }

  /** Start Python again after a failure; queued runs follow. */
  retry() {
    this.#endWorker();
    this.#spawn();
  }

  /** Start Python anew: what runs and what waits ends, and the names of all cells go. */
  restart() {
    if (this.status.phase === "idle") return;
    for (const entry of this.#queue.splice(0)) entry.settle(makeOutcome({ stopped: true }));
    if (this.status.phase === "failed") this.retry();
    else this.#renew("You restarted Python.", { stopped: true });
  }

  /** Count what does not come from this page's own Python. */
  refuse() {
    this.setStatus({ refused: this.status.refused + 1 });
    if (this.status.refused % REFUSALS_LIMIT === 0) {
      this.#renew(`Python's worker sent ${REFUSALS_LIMIT} messages that it never sends, and was ended.`);
    }
  }

  #pump() {
    if (this.#running || this.#queue.length === 0) return;
    if (!this.#begun) return this.#spawn();
    if (!this.#alive) return this.setStatus({ phase: "loading" });
    this.#running = this.#queue.shift();
    const { run, cell, source, guess } = this.#running;
    Object.assign(this.#running, { begun: false, printed: 0 });
    this.#fetcher.begin();
    this.setStatus({ phase: "running", reason: "", cleared: false });
    this.post({ type: "run", run, cell, source, guess });
    this.#askPulse();
  }

  /** Starts a worker; widgets meanwhile show `phase`. */
  #spawn(phase = "loading") {
    this.#begun = true;
    this.setStatus({ phase, share: "0%", starting: runtime.files !== null, fetching: "" });
    void this.start((ratio) => this.setStatus({ share: `${Math.floor(ratio * 100)}%` }));
  }

  receive(data) {
    if (data.type === "ready") this.#ready();
    else if (data.type === "failed") this.fail(data.reason);
    else if (data.type === "crashed") this.#died(data.reason);
    else if (data.type === "pulse") this.#pulsed(data.on);
    else this.#receiveOfRun(data);
  }

  #receiveOfRun(data) {
    if (data.type === "started") this.#started();
    else if (data.type === "stdout") this.#printed(data.text);
    else if (data.type === "table") this.#running.onTable?.(data.json);
    else if (data.type === "plots") this.#running.onPlots?.(data.json);
    else if (data.type === "want") void this.#fetchFor(data);
    else if (data.type === "damaged") dropPackage(data.name);
    else this.#finish(data);
  }

  #ready() {
    this.watch(0);
    this.#alive = true;
    if (this.status.phase === "loading") this.setStatus({ phase: "ready" });
    this.setStatus({ starting: false });
    this.#pump();
  }

  #started() {
    this.#running.begun = true;
    this.#running.onStart?.();
  }

  #printed(text) {
    this.#running.printed += text.length;
    if (this.#running.printed > PRINTED_LIMIT) this.refuse();
    else this.#running.onStdout?.(text);
  }

  async #fetchFor(wanted) {
    const entry = this.#running;
    const answer = await this.#fetcher.fetch(wanted);
    if (entry === this.#running) this.post({ type: "fetched", ...answer });
  }

  /** Ask in a while whether Python still turns; it answers as soon as it computes nothing. */
  #askPulse() {
    clearTimeout(this.#pulse);
    if (this.#running) this.#pulse = setTimeout(() => this.post({ type: "pulse" }), PULSE_MS);
  }

  /** It turns. A run that its worker knows no more of has ended without a word that is believed. */
  #pulsed(on) {
    if (this.#running?.begun && on !== this.#running.run) this.#renew("Python gave no result that can be shown.");
    else this.#askPulse();
  }

  #finish({ value, error, notice, guessed, changed, seconds, heapBytes }) {
    const known = { ok: error === null, value, error, notice, guessed, changed, seconds };
    const stopped = this.status.phase === "stopping";
    if (error?.type === "MemoryError" && heapBytes >= FULL_BYTES) {
      return this.#renew(explainFullMemory(heapBytes), { ...known, stopped });
    }
    const entry = this.#release();
    this.setStatus({ phase: stopped ? "stopped" : "ready", fetching: "" });
    entry.settle(makeOutcome({ ...known, stopped }));
    this.#pump();
  }

  #stop(entry) {
    const waiting = this.#queue.indexOf(entry);
    if (waiting >= 0) {
      this.#queue.splice(waiting, 1);
      entry.settle(makeOutcome({ stopped: true }));
    } else if (entry === this.#running && this.status.phase === "running") {
      const { fetching } = this.status;
      this.setStatus({ phase: "stopping" });
      if (fetching) this.#fetcher.stop();
      else if (!this.#signal) return this.#renew("", { stopped: true });
      else Atomics.store(this.#signal, 0, INTERRUPT);
      this.#grace = setTimeout(() => this.#renew("", { stopped: true }), GRACE_MS);
    }
  }

  /** Terminate the worker and start another at once; the run that was on ends as `how` says. */
  #renew(reason, how = { error: pythonError(reason) }) {
    const entry = this.#endWorker();
    this.setStatus({ reason, cleared: true });
    this.#spawn("stopped");
    entry?.settle(makeOutcome({ ...how, cleared: true, reason }));
    this.#pump();
  }

  #died(reason) {
    if (this.#alive) this.#renew(reason);
    else this.fail(`Python could not start: ${reason} Try again.`);
  }

  broke(words) {
    if (this.#alive) return this.#renew(`Python broke off (${words}).`);
    this.fail(`Python could not start: ${words}. Check the connection and try again.`);
  }

  fail(reason) {
    this.#endWorker();
    this.setStatus({ phase: "failed", reason, starting: false });
    for (const entry of this.#queue.splice(0)) entry.settle(makeOutcome({ error: pythonError(reason) }));
  }

  /** The run that was on, if one was: it is no longer. */
  #release() {
    clearTimeout(this.#grace);
    clearTimeout(this.#pulse);
    const entry = this.#running;
    this.#running = null;
    return entry;
  }

  #endWorker() {
    const entry = this.#release();
    this.#fetcher.stop();
    this.end();
    this.#alive = false;
    return entry;
  }
}

/** The one interpreter of this page. */
export const python = new PythonClient(new URL("../python/worker.js", import.meta.url));
