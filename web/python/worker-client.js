/**
 * The page's side of one worker with a Python in it: started, watched, listened to, ended. The reader's
 * cells, the planner and the page's trainer each have a client that extends this one.
 *
 *   start() ──▶ what it needs is loaded ──▶ the worker gets its first message ──▶ "ready" ──▶ messages
 *      │               └── a file is missing          └── it breaks, or sends nothing for too long
 *      └── a later start, or end(), abandons this one
 *
 * Whatever goes wrong calls `broke` or `fail` once, with a sentence. A worker that was ended is not
 * listened to any more, whatever it still sends. Every message is checked against messages.js: reader code
 * may have taken over the worker.
 *
 * Our server sends a policy with the worker's script: no requests, no code made from text. On a host that
 * sends none, the worker would run without one. It says so before it starts anything ("bare") and is started
 * again as a `blob:` of this page, which inherits the page's policy and imports the same file. Where that is
 * forbidden too, the worker starts without a policy: sandbox.js still removes what Python does not need.
 *
 *   own policy ──"bare"──▶ page's policy ──it breaks before its first message──▶ no policy
 */

import { guardedAddress, scriptAddress } from "./script-address.js";
import { isAllowed } from "./messages.js";
import { runtime } from "./runtime-files.js";

const START_SILENCE_MS = 120_000; // starting sends nothing, and a slow device takes its time
const GRACE_MS = 2_000; // after a computer slept, timers are overdue: a worker that lives answers by then

/** @type {"own" | "page" | "none"} what guards the workers of this page; found out by the first */
let policy = "own";

export class WorkerClient extends EventTarget {
  #url;
  #role;
  #worker = null;
  #watchdog = 0;
  #starting = new AbortController();

  /**
   * @param {URL} url the worker's script
   * @param {"reader" | "planner" | "lab"} role what the worker does; the browser's tools call it so
   * @param {object} status what widgets show; every change of it dispatches "status"
   */
  constructor(url, role, status) {
    super();
    this.#url = url;
    this.#role = role;
    this.status = status;
  }

  // ---- what a client adds: its state, and what happens in it

  /** @returns {import("./messages.js").Turn} which messages may come now */
  get turn() {
    return "boot";
  }

  /** @returns {{run: number | string, cell?: string} | null} the run in progress */
  get current() {
    return null;
  }

  /**
   * Loads what the worker starts from. Rejects with a BootError.
   * @param {(ratio: number, what?: string) => void} onProgress share that has arrived, 0 … 1, of what
   * @param {AbortSignal} _signal ends the downloads of a start that was abandoned
   * @returns {Promise<object>} its first message
   */
  async load(onProgress, _signal) {
    return { files: await runtime.load(onProgress) };
  }

  /** A message that is allowed now. @param {any} _message */
  receive(_message) {}

  /** A message that is not allowed now. */
  refuse() {}

  /** The worker's script failed, or could not be loaded. @param {string} _words */
  broke(_words) {}

  /** The worker cannot be started, or sends nothing. @param {string} _reason a sentence */
  fail(_reason) {}

  // ---- what all clients share

  /** Whether there is a worker; it may still be starting. */
  get hasWorker() {
    return this.#worker !== null;
  }

  setStatus(changes) {
    this.status = { ...this.status, ...changes };
    this.dispatchEvent(new Event("status"));
  }

  /**
   * Starts a worker in place of the one before.
   * @param {(ratio: number, what?: string) => void} onProgress
   */
  async start(onProgress) {
    this.end();
    const { signal } = this.#starting;
    try {
      const loaded = await this.load((...progress) => signal.aborted || onProgress(...progress), signal);
      if (!signal.aborted) this.#begin(loaded);
    } catch (error) {
      if (!signal.aborted) this.fail(error.reason ?? `Python could not be loaded (${error.message}).`);
    }
  }

  #begin(loaded) {
    this.setStatus({ starting: true });
    this.#launch({ type: "boot", role: this.#role, ...loaded });
    if (this.hasWorker) this.watch(START_SILENCE_MS, "while starting. Try again");
  }

  #launch(message) {
    const script = policy === "page" ? guardedAddress(this.#url) : scriptAddress(this.#url);
    try {
      this.#worker = new Worker(script, { type: "module", name: this.#role });
    } catch (error) {
      return this.fail(`The browser refused to start a worker for Python (${error.message}).`);
    }
    this.#listen(this.#worker, message);
    this.#worker.postMessage({ ...message, bare: policy !== "own" });
  }

  #listen(worker, message) {
    let isFirst = true;
    worker.addEventListener("message", ({ data }) => {
      if (worker !== this.#worker) return;
      const isBare = isFirst && data?.type === "bare" && policy === "own";
      isFirst = false;
      if (isBare) this.#relaunch("page", message);
      else if (isAllowed(data, this.turn, this.current)) this.receive(data);
      else this.refuse();
    });
    worker.addEventListener("error", (event) => {
      if (worker !== this.#worker) return;
      event.preventDefault();
      if (isFirst && policy === "page") this.#relaunch("none", message);
      else this.broke(event.message || "its script could not be loaded");
    });
  }

  #relaunch(next, message) {
    policy = next;
    this.#worker.terminate();
    this.#worker = null;
    this.#launch(message);
  }

  /** Sends a message to the worker. */
  post(message) {
    this.#worker.postMessage(message);
  }

  /**
   * Fails when the worker sends nothing for so long.
   * @param {number} silenceMs 0 waits for ever
   * @param {string} [when] the rest of the sentence
   */
  watch(silenceMs, when = "") {
    const seconds = silenceMs / 1000;
    this.expectWithin(silenceMs, `Python sent nothing for ${seconds} seconds${when && ` ${when}`}.`);
  }

  /** Fails with `reason` unless the watch is set anew within so long; 0 ends it. */
  expectWithin(silenceMs, reason) {
    clearTimeout(this.#watchdog);
    if (silenceMs <= 0) return;
    const grace = Math.min(GRACE_MS, silenceMs / 2);
    const giveUp = () => this.fail(reason);
    this.#watchdog = setTimeout(() => (this.#watchdog = setTimeout(giveUp, grace)), silenceMs - grace);
  }

  /** Ends the worker, if there is one, and abandons a start that still loads. */
  end() {
    this.#starting.abort();
    this.#starting = new AbortController();
    clearTimeout(this.#watchdog);
    this.#worker?.terminate();
    this.#worker = null;
  }
}
