/**
 * The page's side of the cells' Python: one queue of runs, one status that widgets show, and one interpreter at work.
 *
 * Cells as printed and cells that the reader has edited never share an interpreter once an edited one has run in it:
 * what the article's own code shows is the article's own result, whatever a reader's code has replaced or left
 * running. The first edited cell takes over the interpreter, with the variables of the cells above it; the next cell
 * as printed starts another. The one that is not at work is set aside: nothing it sends is read.
 *
 *            run()               ready               run begins
 *   idle ───────────▶ loading ──────────▶ ready ───────────────────▶ running ───┐
 *                     ▲  │  ▲               ▲                        │  ▲   │   │
 *             retry() │  │  │ run() while   └────── run ends ────────┘  │   │   │ stop()
 *                     │  ▼  │ restarting                    next run    │   │   ▼
 *                   failed  └───────────────── stopped ─────────────────┘   │ stopping
 *                                                ▲  ▲                       │   │
 *                                                │  └── the run ends ───────────┤ within 500 ms
 *                                                │      (KeyboardInterrupt)     │
 *                                                └── terminate, restart ────────┘ later, or at once
 *                                                    (variables cleared)          without isolation
 *
 * Stop always works, because a worker can be terminated whatever it does. The interrupt comes first only because
 * it keeps the reader's variables. A restart takes a spare that has started meanwhile, else it reuses the
 * compiled module and the files of this page: it downloads nothing. When Python itself ends, it is restarted with a
 * reason: its worker reports a crash, or a ping, sent every two seconds, finds it idle and its event loop stopped.
 * Code that computes answers no ping, for hours if it likes.
 */

import { dropPackage, PackageFetcher } from "./package-fetcher.js";
import { runtime } from "./runtime-files.js";
import { WorkerClient } from "./worker-client.js";

const INTERRUPT = 2;
const GRACE_MS = 500; // a busy machine interrupts a loop in it too: a restart loses the variables of all cells
const PING_MS = 2000;
const SPARE_MS = 200; // after Python is ready: what the reader has pressed comes first
const LEAST_MEMORY = 4; // GiB of the device, as browsers that tell it round it: below, none is kept
const PRINTED_LIMIT = 400_000; // characters of a run; Python stops at half of it
const REFUSALS_LIMIT = 200; // then the worker is terminated
const FULL_BYTES = 2 ** 30; // of memory: from here on, Python is restarted at the first MemoryError to free it

/**
 * @typedef {"idle" | "loading" | "ready" | "running" | "stopping" | "stopped" | "failed"} Phase
 * @typedef {{phase: Phase, share: string, starting: boolean, reason: string, cleared: boolean,
 *   fetching: string, refused: number}} Status
 *   share: how much of the download has arrived, as text ("40%"); reason: why it failed, or why it restarted
 *   between two runs (a run that it ended has that in its outcome); cleared:
 *   variables were lost since the last run; fetching: the package that the running cell waits for; refused:
 *   how many messages of its worker were refused
 * @typedef {{cell: string, source: string, edited: boolean, guess?: {key: string, text: string},
 *   onStart?: () => void, onStdout?: (text: string) => void, onTable?: (json: string) => void,
 *   onPlots?: (json: string) => void, files?: Record<string, (signal: AbortSignal) => Promise<ArrayBuffer>>}} Job
 *   edited: it runs among the reader's own; guess: what they expect, see `unfrozen.guesses`; files: what the page hands
 *   over when the source names it (RUN_LOG)
 * @typedef {{ok: boolean, value: string | null, error: object | null, notice: string,
 *   guessed: string, edited: boolean, seconds: number, stopped: boolean, cleared: boolean,
 *   reason: string}} Outcome
 *   error: {type, message, traceback, line}; notice: what was left out; guessed: the reader's guess beside the
 *   result; edited: as in the job; stopped: by the reader; cleared: the variables of all cells are gone, because
 *   Python was restarted, for a `reason` or by the reader
 */

export class PythonClient extends WorkerClient {
  #queue = [];
  #running = null;
  #alive = false; // the worker has sent "ready"
  #isSpawned = false; // a worker was started, or is being started
  #signal = null; // of the worker, where it can be interrupted
  #edited = false; // edited cells have run in the worker
  #aside = null; // {worker, signal} of the other kind
  #fetcher = new PackageFetcher((fetching, share) => this.setStatus({ fetching, share }));
  #grace = 0;
  #ping = 0;
  #lastRun = 0;
  #isPreparing = false; // started before anything was run
  #spare;
  #spareTimer = 0;

  /** @param {URL} workerUrl the worker's script; the runtime lies beside its folder */
  constructor(workerUrl) {
    super(workerUrl, "reader", {
      phase: "idle", share: "0%", starting: false, reason: "", cleared: false, fetching: "", refused: 0,
    });
    this.#spare = new Spare(workerUrl);
  }

  get turn() {
    if (!this.#alive) return "boot";
    if (!this.#running) return "idle";
    return this.#running.started ? "run" : "sent";
  }

  get current() {
    return this.#running;
  }

  /** Whether cells as printed and edited ones have interpreters of their own by now. */
  get isDivided() {
    return this.#aside !== null;
  }

  /** How many runs are queued. */
  get waiting() {
    return this.#queue.length;
  }

  async load(onProgress) {
    const loaded = await loadReader(onProgress);
    this.#signal = loaded.signal;
    return loaded;
  }

  /**
   * Queues a run; Python starts at the first.
   * @param {Job} job
   * @returns {{done: Promise<Outcome>, stop: () => void}} `done` never rejects
   */
  run(job) {
    const entry = { ...job, run: ++this.#lastRun };
    const done = new Promise((resolve) => (entry.settle = resolve));
    this.#queue.push(entry);
    this.#isPreparing = false;
    if (this.status.phase === "failed") this.retry();
    else this.#startNext();
    return { done, stop: () => this.#stop(entry) };
  }

  /** Starts Python before a cell runs, as the reader comes near; a failure is told when one runs. */
  prepare() {
    if (this.#isSpawned) return;
    this.#isPreparing = true;
    this.#spawn();
  }

  /** Stops the running cell and clears the queue. */
  stopAll() {
    for (const entry of this.#queue.splice(0)) entry.settle(makeOutcome({ stopped: true }));
    if (this.#running) this.#stop(this.#running);
  }

  /** Starts Python again after a failure; queued runs follow. */
  retry() {
    this.#endWorker();
    this.#spawn();
  }

  /** Restarts Python: all runs end, and the variables of all cells are lost. */
  restart() {
    if (this.status.phase === "idle") return;
    for (const entry of this.#queue.splice(0)) entry.settle(makeOutcome({ stopped: true }));
    this.#aside?.worker.terminate();
    this.#aside = null;
    if (this.status.phase === "failed") this.retry();
    else this.#restartWorker("You restarted Python.", { stopped: true });
  }

  /** Counts a message that this page's own Python never sends. */
  refuse() {
    this.setStatus({ refused: this.status.refused + 1 });
    if (this.status.refused % REFUSALS_LIMIT === 0) {
      this.#restartWorker(`Python's worker sent ${REFUSALS_LIMIT} messages of unknown form and was terminated.`);
    }
  }

  #startNext() {
    if (this.#running || this.#queue.length === 0) return;
    if (!this.#isSpawned) return this.#spawn();
    if (!this.#alive) return this.setStatus({ phase: "loading" });
    if (this.#queue[0].edited !== this.#edited && !this.#exchange()) return this.#spawn();
    this.#running = this.#queue.shift();
    const { run, cell, source, guess } = this.#running;
    Object.assign(this.#running, { started: false, printed: 0 });
    this.#fetcher.begin();
    this.setStatus({ phase: "running", reason: "", cleared: false });
    this.post({ type: "run", run, cell, source, guess });
    this.#schedulePing();
  }

  /** Turns to the interpreter of the other kind of cells; returns whether there is one. */
  #exchange() {
    this.#edited = !this.#edited;
    const { worker, signal } = this.#aside ?? {};
    if (!worker && this.#edited) return true; // the first edited cell takes over what there is
    this.#aside = { worker: this.park(), signal: this.#signal };
    if (worker) this.resume(worker);
    this.#signal = signal ?? null;
    this.#alive = Boolean(worker);
    return this.#alive;
  }

  /** Starts a worker; widgets meanwhile show `phase`. */
  #spawn(phase = "loading") {
    this.#isSpawned = true;
    this.#edited &&= this.#aside !== null; // a lone interpreter serves the article until an edited cell takes it over
    this.setStatus({ phase, share: "0%", starting: runtime.files !== null, fetching: "" });
    const spare = this.#spare.take();
    if (spare) return this.#adopt(spare);
    void this.start((ratio) => this.setStatus({ share: `${Math.floor(ratio * 100)}%` }));
  }

  /** Takes the spare; the caller ends its own work before a run begins. */
  #adopt({ worker, signal, isReady }) {
    this.adopt(worker, isReady);
    this.#signal = signal;
    if (isReady) queueMicrotask(() => this.hasWorker && this.#handleReady());
  }

  receive(data) {
    if (data.type === "ready") this.#handleReady();
    else if (data.type === "failed") this.fail(data.reason);
    else if (data.type === "crashed") this.#handleCrash(data.reason);
    else if (data.type === "pong") this.#handlePong(data.running);
    else this.#receiveOfRun(data);
  }

  #receiveOfRun(data) {
    if (data.type === "started") this.#handleStart();
    else if (data.type === "stdout") this.#print(data.text);
    else if (data.type === "table") this.#running.onTable?.(data.json);
    else if (data.type === "plots") this.#running.onPlots?.(data.json);
    else if (data.type === "fetch") void this.#fetch(data);
    else if (data.type === "damaged") dropPackage(data.name);
    else this.#finish(data);
  }

  #handleReady() {
    this.watch(0);
    this.#alive = true;
    if (this.status.phase === "loading") this.setStatus({ phase: "ready" });
    this.setStatus({ starting: false });
    clearTimeout(this.#spareTimer);
    this.#spareTimer = setTimeout(() => this.#spare.prepare(), SPARE_MS);
    this.#startNext();
  }

  #handleStart() {
    this.#running.started = true;
    this.#running.onStart?.();
  }

  #print(text) {
    this.#running.printed += text.length;
    if (this.#running.printed > PRINTED_LIMIT) this.refuse();
    else this.#running.onStdout?.(text);
  }

  async #fetch(request) {
    const entry = this.#running;
    const answer = await this.#fetcher.fetch(request, entry.files);
    if (entry === this.#running) this.post({ type: "fetched", ...answer });
  }

  /** Sends a ping in a while; Python answers as soon as it computes nothing. */
  #schedulePing() {
    clearTimeout(this.#ping);
    if (this.#running) this.#ping = setTimeout(() => this.post({ type: "ping" }), PING_MS);
  }

  /** A run that the worker does not have any more has ended without a valid message. */
  #handlePong(running) {
    const isLost = this.#running?.started && running !== this.#running.run;
    if (isLost) this.#restartWorker("Python gave no result that can be shown.");
    else this.#schedulePing();
  }

  #finish({ value, error, notice, guessed, seconds, heapBytes }) {
    const known = { ok: error === null, value, error, notice, guessed, seconds };
    const stopped = this.status.phase === "stopping";
    if (error?.type === "MemoryError" && heapBytes >= FULL_BYTES) {
      const gigabytes = (heapBytes / 1e9).toFixed(1);
      const reason = `The run had filled ${gigabytes} GB of memory, all this page can have.`;
      return this.#restartWorker(reason, { ...known, stopped });
    }
    if (!known.ok && !this.#edited) { // it may have been left in the middle of something
      if (this.#aside) return this.#restartWorker("", { ...known, stopped });
      this.#edited = true;
    }
    const entry = this.#release();
    this.setStatus({ phase: stopped ? "stopped" : "ready", fetching: "" });
    entry.settle(makeOutcome({ ...known, edited: entry.edited, stopped }));
    this.#startNext();
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
      else if (!this.#signal) return this.#restartWorker("", { stopped: true });
      else Atomics.store(this.#signal, 0, INTERRUPT);
      this.#grace = setTimeout(() => this.#restartWorker("", { stopped: true }), GRACE_MS);
    }
  }

  /** Terminates the worker and starts another at once; the run in progress ends with `result`. */
  #restartWorker(reason, result = { error: pythonError(reason) }) {
    const entry = this.#endWorker();
    const cleared = this.#edited || !this.#aside; // else the reader's own variables are set aside
    this.setStatus(entry ? { reason: "", cleared: false } : { reason, cleared });
    this.#spawn("stopped");
    entry?.settle(makeOutcome({ ...result, edited: entry.edited, cleared, reason }));
    this.#startNext();
  }

  #handleCrash(reason) {
    if (this.#alive) this.#restartWorker(reason);
    else this.fail(`Python could not start: ${reason} Try again.`);
  }

  handleScriptError(message) {
    if (this.#alive) return this.#restartWorker(`Python crashed (${message}).`);
    this.fail(`Python could not start: ${message}. Check the connection and try again.`);
  }

  fail(reason) {
    this.#endWorker();
    this.#isSpawned = !this.#isPreparing;
    this.setStatus({ phase: this.#isPreparing ? "idle" : "failed", reason, starting: false });
    for (const entry of this.#queue.splice(0)) entry.settle(makeOutcome({ error: pythonError(reason) }));
  }

  /** Takes the run in progress, if there is one, out of the client. */
  #release() {
    clearTimeout(this.#grace);
    clearTimeout(this.#ping);
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

/** @returns {Outcome} of a run; everything not given is empty */
function makeOutcome(known) {
  const empty = { ok: false, value: null, error: null, notice: "", guessed: "", edited: false, seconds: 0 };
  return { ...empty, stopped: false, cleared: false, reason: "", ...known };
}

/** @param {string} reason a sentence @returns {object} the error of a run when Python itself failed */
function pythonError(reason) {
  return { type: "PythonError", message: reason, traceback: reason, line: null };
}

/** Loads what a worker for cells starts from. @returns {Promise<object>} its first message */
async function loadReader(onProgress) {
  const signal = globalThis.crossOriginIsolated ? new Int32Array(new SharedArrayBuffer(4)) : null;
  return { files: await runtime.load(onProgress), signal };
}

/**
 * A Python that has started and run nothing, kept for the next restart: after a Stop that had to kill, or a cell as
 * printed that follows edited ones, the next run begins at once.
 */
class Spare extends WorkerClient {
  #signal = null;
  #isReady = false;

  /** @param {URL} workerUrl */
  constructor(workerUrl) {
    super(workerUrl, "reader", {});
  }

  /** Starts one, unless there is one or the device is small. */
  prepare() {
    if (!this.hasWorker && (navigator.deviceMemory ?? LEAST_MEMORY) >= LEAST_MEMORY) void this.start(() => {});
  }

  /**
   * Gives it away; its client gets "ready" yet, unless it is.
   * @returns {{worker: Worker, signal: Int32Array | null, isReady: boolean} | null} null while there is none
   */
  take() {
    if (!this.hasWorker) return null;
    const isReady = this.#isReady;
    this.#isReady = false;
    return { worker: this.park(), signal: this.#signal, isReady };
  }

  async load(onProgress) {
    const loaded = await loadReader(onProgress);
    this.#signal = loaded.signal;
    return { ...loaded, keeps: true };
  }

  receive({ type }) {
    this.watch(0);
    this.#isReady = type === "ready";
    if (!this.#isReady) this.end();
  }

  handleScriptError() {
    this.fail();
  }

  /** The next restart starts one itself, and says what is wrong. */
  fail() {
    this.#isReady = false;
    this.end();
  }
}

/** The interpreter of the cells. */
export const python = new PythonClient(new URL("../python/worker.js", import.meta.url));
