/**
 * The page's own trainer: one worker that fine-tunes the demo model, and the logs of its runs.
 *
 *            train(), ask()           ready                    train()
 *   idle ───────────────────▶ loading ─────────▶ ready ───────────────────▶ training ──┐
 *                             ▲    │              ▲                           │        │ stop()
 *            train(), ask()   │    ▼              └─── run ends, refused ─────┘        ▼
 *                             └── failed ◀─── crash or timeout ─────────── training ◀ stopping
 *                                                                          (timeout: terminated)
 *
 * A run that waited for Python goes from loading to training at once.
 * A run is its log: lines of events, the same as a runner's, in `pageRuns`.
 */

/* global DEMO -- written in by web/site_builder/assets.py: name → {sha256, bytes} of the demo's files */

import { SITE } from "../page/site.js";
import { eventsOf, pageRuns } from "./page-runs.js";
import { dropPackage, fetchPackage } from "../python/package-fetcher.js";
import { fetchBytes, runtime, watchDownload } from "../python/runtime-files.js";
import { WorkerClient } from "../python/worker-client.js";

const WORK_TIMEOUT_MS = 60_000; // a step takes about a second, and longer on a slow device
const STOP_TIMEOUT_MS = 5_000;
const LOST = 'its weights are lost: until the next run only the model "before" can answer';

/**
 * @typedef {{phase: "idle" | "loading" | "ready" | "training" | "stopping" | "failed", what: string,
 *   share: string, starting: boolean, reason: string}} Status what: what is being fetched, share: how much
 *   of it, starting: all of it is here
 */

export class PageTrainer extends WorkerClient {
  #training = null; // {run, resolve}
  #waiting = []; // messages for a worker that still starts
  #calls = new Map(); // call → resolve
  #lastCall = 0;
  #begun = 0;

  /** @param {URL} workerUrl */
  constructor(workerUrl) {
    super(workerUrl, "lab", { phase: "idle", what: "", share: "", starting: false, reason: "" });
  }

  get turn() {
    if (this.status.phase === "loading") return "boot";
    return this.#training ? "train" : this.#calls.size ? "ask" : "idle";
  }

  get current() {
    return this.#training && { run: this.#training.run.id };
  }

  async load(onProgress, signal) {
    const show = (what) => (ratio) => onProgress(ratio, what);
    const fetched = (what, download) => watchDownload(download, show(what), { signal });
    const files = await runtime.load(show("Python"));
    const numpy = await fetched("numpy", (report, abort) => fetchPackage("numpy", report, abort));
    const demo = await fetched("the model", fetchDemo);
    return { files, numpy, demo, kernel: await fetchKernel() };
  }

  /**
   * Fine-tunes with these choices; Python starts at the first run.
   * @param {object} choices names of `unfrozen.lab.choices`
   * @returns {Promise<{ok: boolean, status: string, losses: object, exact: object, problem: string}>} never rejects
   */
  train(choices) {
    if (this.#training) return Promise.resolve(makeResult("busy", "A run is in progress: stop it first."));
    const id = `page-${timestamp()}-${++this.#begun}-${Math.random().toString(36).slice(2, 6)}`;
    const run = { id, title: "", choices: { ...choices }, command: "", lines: [], over: false, end: null };
    return new Promise((resolve) => {
      this.#training = { run, resolve };
      this.#send({ type: "start", run: id, choices: JSON.stringify(choices) });
      if (this.status.phase === "ready") this.setStatus({ phase: "training" });
    });
  }

  /**
   * Stops the run in progress, or the loading. A run logs its own end; the worker of one that does not is terminated.
   */
  stop() {
    if (this.status.phase === "loading") return this.fail("", "stopped");
    if (this.status.phase !== "training") return;
    this.setStatus({ phase: "stopping" });
    this.post({ type: "stop" });
    this.failAfter(STOP_TIMEOUT_MS, `It was ended by force in the middle of a step; ${LOST}.`);
  }

  /**
   * Asks both models to continue a text; `alpha` mixes the second one, see `blend`.
   * @param {string} prompt
   * @param {number} [alpha]
   * @returns {Promise<object | {problem: string}>} never rejects; see `unfrozen.lab.session`
   */
  ask(prompt, alpha = 1) {
    return this.#call({ prompt, alpha });
  }

  /**
   * Scores θ₀ + α(θ* − θ₀) of the newest run.
   * @param {number} alpha from 0 to 1
   * @returns {Promise<{losses: object, exact: object, problem: string}>} never rejects
   */
  blend(alpha) {
    if (this.status.phase === "idle") return Promise.resolve({ losses: {}, exact: {}, problem: "There is no run yet: train first." });
    return this.#call({ alpha });
  }

  #call(question) {
    const call = ++this.#lastCall;
    return new Promise((resolve) => {
      this.#calls.set(call, resolve);
      this.#send({ type: "ask", call, ...question });
    });
  }

  receive(message) {
    if (message.type === "ready") this.#handleReady();
    else if (message.type === "failed") this.#failToStart(message.reason);
    else if (message.type === "crashed") this.fail(message.reason);
    else if (message.type === "answer") this.#handleAnswer(message);
    else if (message.type === "began") this.#handleBegin(message);
    else if (message.type === "events") this.#appendEvents(message.lines);
    else if (message.type === "ended") this.#finish();
    this.#setTimeouts();
  }

  handleScriptError(message) {
    this.fail(`Python stopped: ${message}.`);
  }

  /** Ends the run in progress and its log; the next run starts another worker. */
  fail(reason, status = "failed") {
    this.end();
    this.#waiting.length = 0;
    const phase = status === "stopped" ? "idle" : "failed";
    this.setStatus({ phase, what: "", share: "", starting: false, reason });
    for (const resolve of this.#calls.values()) resolve({ problem: reason || "It was stopped." });
    this.#calls.clear();
    const { run, resolve } = this.#training ?? {};
    if (run && pageRuns.all.has(run.id)) return this.#endLog(run, reason);
    this.#training = null;
    resolve?.(makeResult(status, reason));
  }

  #send(message) {
    const { phase } = this.status;
    if (phase === "idle" || phase === "failed") this.#load();
    if (this.status.phase === "loading") this.#waiting.push(message);
    else this.post(message);
    this.#setTimeouts();
  }

  #load() {
    this.setStatus({ phase: "loading", what: "", share: "", starting: false, reason: "" });
    void this.start((ratio, what) => this.setStatus({ what, share: `${Math.floor(ratio * 100)}%` }));
  }

  /** A worker that trains or has a question to answer must send something in time. */
  #setTimeouts() {
    if (this.status.phase === "ready" || this.status.phase === "training") {
      this.watch(this.#training || this.#calls.size ? WORK_TIMEOUT_MS : 0);
    }
  }

  #handleReady() {
    const phase = this.#training ? "training" : "ready";
    this.setStatus({ phase, what: "", share: "", starting: false });
    for (const message of this.#waiting.splice(0)) this.post(message);
  }

  /** The wheel may be damaged: the next start fetches it again. */
  #failToStart(reason) {
    dropPackage("numpy");
    this.fail(reason);
  }

  #handleBegin({ problem, title, command }) {
    const { run, resolve } = this.#training;
    Object.assign(run, { title, command });
    if (problem) {
      this.#training = null;
      this.setStatus({ phase: "ready" });
      return resolve(makeResult("refused", problem));
    }
    pageRuns.add(run);
  }

  #appendEvents(text) {
    pageRuns.append(this.#training.run.id, text.split("\n").filter(Boolean));
  }

  #finish() {
    this.watch(0);
    const { run, resolve } = this.#training;
    this.#training = null;
    run.over = true;
    if (this.status.phase !== "failed") this.setStatus({ phase: "ready" });
    pageRuns.changed();
    const { status = "failed", reason = "", summary } = run.end ?? {};
    const { losses = {}, exact = {} } = summary ?? {};
    resolve({ ok: status === "finished", status, losses, exact, problem: reason });
  }

  #handleAnswer({ call, json }) {
    this.#calls.get(call)?.(JSON.parse(json));
    this.#calls.delete(call);
  }

  /** Writes the last line of a log whose worker was terminated. */
  #endLog(run, reason) {
    const begun = { v: 1, run: run.id, seq: -1, att: 0, t: Date.now() / 1000, step: 0 };
    const last = eventsOf(run.lines).findLast((event) => !event.refused) ?? begun;
    const { v, run: name, att, t, rt, step } = last;
    const end = { kind: "run.end", status: "failed", reason, summary: {} };
    this.#appendEvents(JSON.stringify({ v, run: name, seq: last.seq + 1, att, t, rt, step, ...end }));
    this.#finish();
  }
}

/** Fetches the demo's files, with the hashes that the worker checks. */
async function fetchDemo(onProgress, signal) {
  const total = Object.values(DEMO).reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / total));
  const fetchOne = async ([name, { sha256 }]) => {
    const bytes = await fetchBytes(new URL(`demo/${name}`, SITE), onBytes, { what: "The model", signal });
    return [name, { bytes, sha256 }];
  };
  return Object.fromEntries(await Promise.all(Object.entries(DEMO).map(fetchOne)));
}

/** Fetches the kernel; null where it cannot be fetched: numpy's own matmuls are correct, but slow. */
async function fetchKernel() {
  try {
    return await fetchBytes(new URL("python/matmul.wasm", SITE), () => {}, { what: "The kernel" });
  } catch {
    return null;
  }
}

function makeResult(status, problem) {
  return { ok: false, status, losses: {}, exact: {}, problem };
}

/** Returns the time for a name: 20261126-104907. */
function timestamp() {
  return new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
}

/** The one trainer of this page. */
export const trainer = new PageTrainer(new URL("../python/worker.js", import.meta.url));
