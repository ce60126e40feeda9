/**
 * The page's side of the planner's own Python: a second interpreter that runs no reader code.
 *
 *            ask()               ready
 *   idle ───────────▶ loading ──────────▶ ready      one question at a time; of those that wait,
 *                     ▲     │               │        the newest of each name is kept
 *              ask(), │     ▼               │
 *              start()└── failed ◀──────────┘ it crashed, or said nothing for too long
 *
 * A cell may run for minutes, be stopped or change what it imported; none of that reaches the
 * planner. Both are made of what the page has fetched (files.js), which no worker hands back.
 */

import { runtime } from "./runtime-files.js";
import { mayBeSaid } from "./messages.js";
import { START_SILENCE_MS, WorkerLife } from "./life.js";

const ANSWER_SILENCE_MS = 20_000;

/**
 * @typedef {{phase: "idle" | "loading" | "ready" | "failed", progress: number, starting: boolean,
 *   reason: string}} Status progress: share of the runtime's bytes here, 0 … 1
 */

export class PlannerClient extends EventTarget {
  /** @param {URL} workerUrl the script of the reader's worker, which can play this part too */
  constructor(workerUrl) {
    super();
    this.life = new WorkerLife(workerUrl, "planner", {
      hear: (data) => this.#hear(data),
      broke: (words) => this.#fail(`Python stopped: ${words}.`),
      refused: (reason) => this.#fail(reason),
    });
    /** @type {Status} */
    this.status = { phase: "idle", progress: 0, starting: false, reason: "" };
    this.waiting = new Map(); // name → {name, value, settle}
    this.current = null;
    this.lastCall = 0;
    this.starts = 0;
  }

  /**
   * Ask the planner; Python starts at the first question.
   * @param {string} name one of the questions of `unfrozen.ask`
   * @param {unknown} value its argument, plain data
   * @returns {Promise<object | null>} its answer; null when a newer question took its place or
   *   Python failed
   */
  ask(name, value) {
    this.waiting.get(name)?.settle(null);
    return new Promise((settle) => {
      this.waiting.set(name, { name, value: JSON.stringify(value), settle });
      if (this.status.phase === "idle" || this.status.phase === "failed") this.start();
      else this.#pump();
    });
  }

  /** Forget a question that waits. */
  drop(name) {
    this.waiting.get(name)?.settle(null);
    this.waiting.delete(name);
  }

  /** Start Python, or start it again after a failure. */
  start() {
    this.#end();
    const start = this.starts;
    this.#set({ phase: "loading", progress: runtime.files ? 1 : 0, starting: Boolean(runtime.files), reason: "" });
    runtime
      .load((progress) => start === this.starts && this.#set({ progress }))
      .then(
        (files) => start === this.starts && this.#begin(files),
        (error) => start === this.starts && this.#fail(error.reason ?? error.message),
      );
  }

  #begin(files) {
    this.#set({ progress: 1, starting: true });
    this.life.begin({ type: "boot", role: "planner", files });
    if (this.life.begun) this.#watch(START_SILENCE_MS);
  }

  #hear(data) {
    const turn = this.status.phase === "loading" ? "boot" : this.current ? "ask" : "rest";
    if (!mayBeSaid(data, turn)) return;
    if (data.type === "ready") {
      this.#watch(0);
      this.#set({ phase: "ready", starting: false });
      this.#pump();
    } else if (data.type === "answer") this.#answered(data);
    else if (data.type === "failed") this.#fail(data.reason);
    else if (data.type === "crashed") this.#fail(`The planner stopped: ${data.reason}`);
  }

  #pump() {
    if (this.status.phase !== "ready" || this.current) return;
    const [first] = this.waiting.values();
    if (!first) return;
    this.waiting.delete(first.name);
    this.current = { ...first, call: ++this.lastCall };
    this.#watch(ANSWER_SILENCE_MS);
    const { call, name, value } = this.current;
    this.life.post({ type: "ask", call, name, value });
  }

  #answered({ call, json }) {
    if (this.current?.call !== call) return;
    const { settle } = this.current;
    this.current = null;
    this.#watch(0);
    settle(JSON.parse(json));
    this.#pump();
  }

  #watch(silenceMs) {
    this.life.watch(silenceMs, (seconds) => this.#fail(`Python said nothing for ${seconds} seconds.`));
  }

  #fail(reason) {
    const open = [this.current, ...this.waiting.values()].filter(Boolean);
    this.waiting.clear();
    this.#end();
    this.#set({ phase: "failed", reason, starting: false });
    for (const { settle } of open) settle(null);
  }

  #end() {
    this.starts += 1; // a start that waits for its files is given up
    this.life.end();
    this.current = null;
  }

  #set(changes) {
    this.status = { ...this.status, ...changes };
    this.dispatchEvent(new Event("status"));
  }
}

/** The planner of this page. */
export const planner = new PlannerClient(new URL("../python/worker.js", import.meta.url));
