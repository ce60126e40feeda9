/**
 * The page's own trainer: one worker that fine-tunes the demo model, and the logs of its runs.
 *
 *            start(), ask()           ready                  run begins
 *   idle ───────────────────▶ loading ─────────▶ ready ───────────────────▶ training ──┐
 *                             ▲    │              ▲                           │        │ stop()
 *            start(), ask()   │    ▼              └───────── run ends ────────┘        ▼
 *                             └── failed ◀─ it crashed, or said nothing ─ training ◀ stopping
 *                                                                          (too long: ended by force)
 *
 * A run is its log: lines of events, the same as a runner's, in `pageRuns`.
 */

import { scriptAddress } from "../python/script-address.js";
import { python } from "../python/client.js";
import { pageRuns } from "./page-runs.js";
import { parseEvent } from "./log-lines.js";

const DOWNLOAD_SILENCE_MS = 30_000;
const START_SILENCE_MS = 120_000;
const WORK_SILENCE_MS = 60_000; // a step takes a second at most, on a slow device some more
const STOP_SILENCE_MS = 5_000;
const GRACE_MS = 2_000; // a computer that slept finds its timers overdue: who lives says so by then
const TAIL = 'the weights are gone with it: "before" is all that can be asked until the next run';

/**
 * @typedef {{phase: "idle" | "loading" | "ready" | "training" | "stopping" | "failed", what: string,
 *   share: string, reason: string}} Status what: what is being fetched, share: how much of it
 */

export class PageTrainer extends EventTarget {
  /** @param {URL} workerUrl */
  constructor(workerUrl) {
    super();
    this.workerUrl = workerUrl;
    /** @type {Status} */
    this.status = { phase: "idle", what: "", share: "", reason: "" };
    this.worker = null;
    this.current = null; // {run, settle}
    this.waiting = []; // messages for a worker that still starts
    this.calls = new Map(); // call → settle
    this.lastCall = 0;
    this.watchdog = 0;
    this.begun = 0;
  }

  /**
   * Fine-tune with these choices; Python starts at the first run.
   * @param {object} choices names of `unfrozen.lab.choices`
   * @returns {Promise<{ok: boolean, status: string, losses: object, problem: string}>} never rejects
   */
  start(choices) {
    if (this.current) return Promise.resolve(ended("busy", "A run is on already: stop it first."));
    const id = `page-${stamp()}-${++this.begun}-${Math.random().toString(36).slice(2, 6)}`;
    const run = { id, title: "", choices: { ...choices }, command: "", lines: [], over: false, end: null };
    return new Promise((settle) => {
      this.current = { run, settle };
      this.#send({ type: "start", run: id, choices: JSON.stringify(choices) });
    });
  }

  /**
   * End the run that is on, or the loading. A run says so itself; one that does not is ended by
   * force.
   */
  stop() {
    if (this.status.phase === "loading") return this.#fail("", "stopped");
    if (this.status.phase !== "training") return;
    this.#set({ phase: "stopping" });
    this.worker.postMessage({ type: "stop" });
    this.#watch(STOP_SILENCE_MS, `It was ended by force in the middle of a step; ${TAIL}.`);
  }

  /**
   * What both models write.
   * @param {string} prompt
   * @returns {Promise<object | {problem: string}>} never rejects; see `unfrozen.lab.session`
   */
  ask(prompt) {
    const call = ++this.lastCall;
    return new Promise((settle) => {
      this.calls.set(call, settle);
      this.#send({ type: "ask", call, prompt });
    });
  }

  #send(message) {
    if (!this.worker) this.#spawn();
    if (this.status.phase === "loading") this.waiting.push(message);
    else this.worker?.postMessage(message);
    this.#expect();
  }

  /** While something is to be said by a worker that is up, it must not fall silent. */
  #expect() {
    if (this.status.phase === "ready" || this.status.phase === "training") {
      this.#watch(this.current || this.calls.size ? WORK_SILENCE_MS : 0);
    }
  }

  #spawn() {
    this.#set({ phase: "loading", what: "", share: "", reason: "" });
    try {
      this.worker = new Worker(scriptAddress(this.workerUrl), { type: "module", name: "lab" });
    } catch (error) {
      return void setTimeout(() => this.#fail(`The browser refused to start a worker (${error.message}).`));
    }
    const { worker } = this;
    worker.addEventListener("message", ({ data }) => worker === this.worker && this.#hear(data));
    worker.addEventListener("error", (event) => worker === this.worker && this.#broke(event));
    this.#watch(DOWNLOAD_SILENCE_MS);
    worker.postMessage({ type: "boot", files: python.files ?? undefined, numpy: python.packages.numpy });
  }

  #hear(data) {
    if (data.type === "progress") this.#progress(data);
    else if (data.type === "kept") this.#keep(data);
    else if (data.type === "starting") this.#starting();
    else if (data.type === "ready") this.#ready();
    else if (data.type === "failed") this.#fail(data.reason);
    else if (data.type === "crashed") this.#fail(`Python stopped (${data.reason}).`);
    else if (data.type === "answer") this.#answered(data);
    else if (data.run === this.current?.run.id) this.#hearRun(data);
    this.#expect();
  }

  #hearRun(data) {
    if (data.type === "began") this.#began(data);
    else if (data.type === "events") this.#take(data.lines);
    else if (data.type === "ended") this.#finish();
  }

  #progress({ what, share }) {
    this.#watch(DOWNLOAD_SILENCE_MS);
    this.#set({ what, share });
  }

  /** What is here need not be fetched again, by the reader's cells either. */
  #keep({ files, numpy }) {
    python.files ??= files ?? null;
    if (numpy) python.packages.numpy ??= numpy;
  }

  #starting() {
    this.#watch(START_SILENCE_MS);
    this.#set({ what: "starting", share: "" });
  }

  #ready() {
    this.#set({ phase: "ready", what: "", share: "" });
    for (const message of this.waiting.splice(0)) this.worker.postMessage(message);
  }

  #began({ problem, title, command }) {
    const { run, settle } = this.current;
    Object.assign(run, { title, command });
    if (problem) {
      this.current = null;
      return settle(ended("refused", problem));
    }
    this.#set({ phase: "training" });
    pageRuns.add(run);
  }

  #take(text) {
    pageRuns.take(this.current.run.id, text.split("\n").filter(Boolean));
  }

  #finish() {
    this.#watch(0);
    if (!this.current) return;
    const { run, settle } = this.current;
    this.current = null;
    run.over = true;
    if (this.status.phase !== "failed") this.#set({ phase: "ready" });
    pageRuns.changed();
    const { status = "failed", reason = "", summary } = run.end ?? {};
    settle({ ok: status === "finished", status, losses: summary?.losses ?? {}, problem: reason });
  }

  #answered({ call, json }) {
    this.calls.get(call)?.(JSON.parse(json));
    this.calls.delete(call);
  }

  /** A worker that says nothing for too long hangs; tell it instead of waiting for ever. */
  #watch(silenceMs, reason = `Python said nothing for ${silenceMs / 1000} seconds.`) {
    clearTimeout(this.watchdog);
    if (!silenceMs) return;
    const giveUp = () => this.#fail(reason);
    this.watchdog = setTimeout(() => (this.watchdog = setTimeout(giveUp, GRACE_MS)), silenceMs - GRACE_MS);
  }

  #broke(event) {
    event.preventDefault();
    this.#fail(`Python stopped: ${event.message || "its script could not be loaded"}.`);
  }

  /** The worker is of no more use: what is on ends, its log too; the next start makes a new one. */
  #fail(reason, status = "failed") {
    clearTimeout(this.watchdog);
    this.worker?.terminate();
    this.worker = null;
    this.waiting.length = 0;
    const phase = status === "stopped" ? "idle" : "failed";
    this.#set({ phase, what: "", share: "", reason });
    for (const settle of this.calls.values()) settle({ problem: reason || "It was stopped." });
    this.calls.clear();
    const { run, settle } = this.current ?? {};
    if (run && pageRuns.all.has(run.id)) return this.#endLog(run, reason);
    this.current = null;
    settle?.(ended(status, reason));
  }

  /** The last word of a log whose writer is gone. */
  #endLog(run, reason) {
    const begun = { v: 1, run: run.id, seq: -1, att: 0, t: Date.now() / 1000, step: 0 };
    const last = run.lines.map(parseEvent).findLast((event) => event && !event.refused) ?? begun;
    const { v, run: name, att, t, rt, step } = last;
    const end = { kind: "run.end", status: "failed", reason, summary: {} };
    this.#take(JSON.stringify({ v, run: name, seq: last.seq + 1, att, t, rt, step, ...end }));
    this.#finish();
  }

  #set(changes) {
    this.status = { ...this.status, ...changes };
    this.dispatchEvent(new Event("status"));
  }
}

function ended(status, problem) {
  return { ok: false, status, losses: {}, problem };
}

/** The time in a name: 20261126-104907. */
function stamp() {
  return new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
}

/** The one trainer of this page. */
export const trainer = new PageTrainer(new URL("../python/lab-worker.js", import.meta.url));
