/**
 * The page's side of the planner's Python: a second interpreter that runs no reader code.
 *
 *            ask()               ready
 *   idle ───────────▶ loading ──────────▶ ready      one question at a time; of those that wait,
 *                     ▲     │               │        only the newest of each name is asked
 *              ask(), │     ▼               │
 *              start()└── failed ◀──────────┘ crash or timeout
 *
 * A cell may run for minutes, be stopped or monkeypatch what it imported; none of that affects the planner.
 */

import { WorkerClient } from "./worker-client.js";

const ANSWER_TIMEOUT_MS = 20_000;

/**
 * @typedef {{phase: "idle" | "loading" | "ready" | "failed", progress: number, starting: boolean,
 *   reason: string}} Status progress: share of the runtime's bytes here, 0 … 1
 */

export class PlannerClient extends WorkerClient {
  #waiting = new Map(); // name → {name, value, settle}
  #current = null; // the question that was sent
  #lastCall = 0;
  #isPreparing = false; // started before anything was asked

  /** @param {URL} workerUrl */
  constructor(workerUrl) {
    super(workerUrl, "planner", { phase: "idle", progress: 0, starting: false, reason: "" });
  }

  get turn() {
    return this.status.phase === "loading" ? "boot" : this.#current ? "ask" : "idle";
  }

  /**
   * Asks the planner; Python starts at the first question.
   * @param {string} name one of the questions of `unfrozen.ask`
   * @param {unknown} value its argument, plain data
   * @returns {Promise<object | null>} its answer; null when a newer question replaced it or Python failed
   */
  ask(name, value) {
    this.#waiting.get(name)?.settle(null);
    this.#isPreparing = false;
    return new Promise((settle) => {
      this.#waiting.set(name, { name, value: JSON.stringify(value), settle });
      if (this.status.phase === "idle" || this.status.phase === "failed") void this.start();
      else this.#pump();
    });
  }

  /** Starts Python before it is asked, as the reader comes near; a failure is told when it is asked. */
  prepare() {
    if (this.status.phase !== "idle") return;
    this.#isPreparing = true;
    void this.start();
  }

  /** Drops a question that waits. */
  drop(name) {
    this.#waiting.get(name)?.settle(null);
    this.#waiting.delete(name);
  }

  /** Starts Python, or starts it again after a failure. */
  start() {
    this.#current = null;
    this.setStatus({ phase: "loading", progress: 0, starting: false, reason: "" });
    return super.start((progress) => this.setStatus({ progress }));
  }

  receive(message) {
    if (message.type === "ready") {
      this.watch(0);
      this.setStatus({ phase: "ready", progress: 1, starting: false });
      this.#pump();
    } else if (message.type === "answer") this.#answered(message);
    else if (message.type === "failed") this.fail(message.reason);
    else if (message.type === "crashed") this.fail(`The planner stopped: ${message.reason}`);
  }

  handleScriptError(message) {
    this.fail(`Python stopped: ${message}.`);
  }

  fail(reason) {
    const open = [this.#current, ...this.#waiting.values()].filter(Boolean);
    this.#waiting.clear();
    this.#current = null;
    this.end();
    this.setStatus({ phase: this.#isPreparing ? "idle" : "failed", reason, starting: false });
    for (const { settle } of open) settle(null);
  }

  #pump() {
    if (this.status.phase !== "ready" || this.#current) return;
    const [first] = this.#waiting.values();
    if (!first) return;
    this.#waiting.delete(first.name);
    this.#current = { ...first, call: ++this.#lastCall };
    this.watch(ANSWER_TIMEOUT_MS);
    const { call, name, value } = this.#current;
    this.post({ type: "ask", call, name, value });
  }

  #answered({ call, json }) {
    if (this.#current?.call !== call) return;
    const { settle } = this.#current;
    this.#current = null;
    this.watch(0);
    settle(JSON.parse(json));
    this.#pump();
  }
}

/** The planner of this page. */
export const planner = new PlannerClient(new URL("../python/worker.js", import.meta.url));
