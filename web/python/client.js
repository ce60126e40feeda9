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
 * from here, so it downloads nothing. A crash of Python itself is a stop with a reason.
 */

import { DOWNLOAD_SILENCE_MS, START_SILENCE_MS, WorkerLife } from "./life.js";

const INTERRUPT = 2;
const GRACE_MS = 250;

/**
 * @typedef {"idle" | "loading" | "ready" | "running" | "stopping" | "stopped" | "failed"} Phase
 * @typedef {{phase: Phase, share: string, starting: boolean, reason: string, cleared: boolean,
 *   fetching: string}} Status
 *   share: how much of what is being downloaded is here, as text ("40%"); reason: why it failed or
 *   restarted; cleared: variables were lost since the last run; fetching: name of the package that
 *   the running cell waits for
 * @typedef {{ok: boolean, value: string | null, error: object | null, notice: string,
 *   guessed: string, seconds: number, stopped: boolean, cleared: boolean}} Outcome
 *   guessed: the reader's guess beside the result, in words
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
    this.status = { phase: "idle", share: "0%", starting: false, reason: "", cleared: false, fetching: "" };
    this.queue = [];
    this.current = null;
    this.alive = false; // the worker has said "ready"
    this.files = null;
    this.packages = {}; // name → bytes of what cells have imported: a restart fetches none again
    this.signal = globalThis.crossOriginIsolated ? new Int32Array(new SharedArrayBuffer(4)) : null;
    this.grace = 0;
    this.lastRun = 0;
  }

  /**
   * Queue a run; Python starts at the first.
   * @param {Job} job
   * @returns {{done: Promise<Outcome>, stop: () => void}} `done` never rejects
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

  #set(changes) {
    this.status = { ...this.status, ...changes };
    this.dispatchEvent(new Event("status"));
  }

  #pump() {
    if (this.current || this.queue.length === 0) return;
    if (!this.life.begun) return this.#spawn();
    if (!this.alive) return this.#set({ phase: "loading" });
    this.current = this.queue.shift();
    const { run, cell, source, guess } = this.current;
    this.#set({ phase: "running", reason: "", cleared: false });
    this.life.post({ type: "run", run, cell, source, guess });
  }

  #spawn(phase = "loading") {
    this.#set({ phase, share: "0%", starting: Boolean(this.files), fetching: "" });
    this.alive = false;
    if (this.signal) Atomics.store(this.signal, 0, 0); // meant for the worker that is gone
    this.life.begin({ type: "boot", signal: this.signal, files: this.files ?? undefined, packages: this.packages });
    if (this.life.begun) this.#watch();
  }

  /** A start that says nothing for too long hangs; tell it instead of waiting for ever. */
  #watch() {
    const [silenceMs, what] = this.status.starting ? [START_SILENCE_MS, "starting"] : [DOWNLOAD_SILENCE_MS, "loading"];
    this.life.watch(silenceMs, (seconds) => {
      this.#fail(`Python said nothing for ${seconds} seconds while ${what}. Try again.`);
    });
  }

  #hear(data) {
    if (data.type === "progress") this.#set({ share: `${Math.floor(data.ratio * 100)}%` });
    else if (data.type === "starting") this.#keep(data.files);
    else if (data.type === "ready") this.#ready();
    else if (data.type === "failed") this.#fail(data.reason);
    else if (this.current?.run === data.run) this.#hearRun(data);
    if (this.life.begun && !this.alive) this.#watch();
  }

  #hearRun(data) {
    if (data.type === "started") this.current.onStart?.();
    else if (data.type === "stdout") this.current.onStdout?.(data.text);
    else if (data.type === "table") this.current.onTable?.(data.json);
    else if (data.type === "plots") this.current.onPlots?.(data.json);
    else if (data.type === "fetching") this.#set({ fetching: data.name, share: data.share });
    else if (data.type === "package") this.packages[data.name] = data.bytes;
    else if (data.type === "done") this.#finish(data);
    else if (data.type === "crashed") this.#restart(`Python crashed: ${data.reason}`);
  }

  #keep(files) {
    this.files = files ?? this.files;
    this.#set({ starting: true });
  }

  #ready() {
    this.life.watch(0);
    this.alive = true;
    if (this.status.phase === "loading") this.#set({ phase: "ready", starting: false });
    this.#pump();
  }

  #finish({ ok, value, error, notice, guessed, seconds }) {
    clearTimeout(this.grace);
    const stopped = this.status.phase === "stopping";
    const entry = this.current;
    this.current = null;
    this.#set({ phase: stopped ? "stopped" : "ready" });
    entry.settle(ended({ ok, value, error, notice, guessed, seconds, stopped }));
    this.#pump();
  }

  #stop(entry) {
    const waiting = this.queue.indexOf(entry);
    if (waiting >= 0) {
      this.queue.splice(waiting, 1);
      entry.settle(ended({ stopped: true }));
    } else if (entry === this.current && this.status.phase === "running") {
      this.#set({ phase: "stopping" });
      if (this.status.fetching) this.life.post({ type: "stop" });
      else if (!this.signal) return this.#restart("");
      else Atomics.store(this.signal, 0, INTERRUPT);
      this.grace = setTimeout(() => this.#restart(""), GRACE_MS);
    }
  }

  /** Terminate the worker and start another at once; the run that was on ends as stopped. */
  #restart(reason) {
    const entry = this.current;
    this.#endWorker();
    this.#set({ reason, cleared: true });
    this.#spawn("stopped");
    entry.settle(ended({ stopped: reason === "", cleared: true, error: reason && crash(reason) }));
    this.#pump();
  }

  #workerBroke(words) {
    if (this.alive && this.current) this.#restart(`Python crashed: ${words}`);
    else this.#fail(`Python could not start: ${words}. Check the connection and try again.`);
  }

  #fail(reason) {
    this.#endWorker();
    this.#set({ phase: "failed", reason, starting: false });
    for (const entry of this.queue.splice(0)) entry.settle(ended({ error: crash(reason) }));
  }

  #endWorker() {
    clearTimeout(this.grace);
    this.life.end();
    this.alive = false;
    this.current = null;
  }
}

/** @returns {Outcome} an outcome with everything not given left empty */
function ended(known) {
  const empty = { ok: false, value: null, error: null, notice: "", guessed: "", seconds: 0 };
  return { ...empty, stopped: false, cleared: false, ...known, error: known.error || null };
}

function crash(reason) {
  return { type: "PythonError", message: reason, traceback: reason, line: null };
}

/** The one interpreter of this page. */
export const python = new PythonClient(new URL("../python/worker.js", import.meta.url));
