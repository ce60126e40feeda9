/**
 * The page's side of one Python worker. The clients of the cells, of the planner and of the page's trainer extend it.
 *
 *   start() ─┬▶ its files are loaded ─────────┬▶ the worker boots ──▶ "ready" ──▶ messages
 *      │     │         └── a file is missing    │         └── it fails, or times out
 *      │     └▶ the worker loads its scripts ───┘
 *      └── a later start, or end(), aborts this one
 *
 * Every failure calls `handleScriptError` or `fail` once. Messages of a worker that was terminated are ignored, and
 * all others are checked against messages.js, because reader code may have taken over the worker.
 *
 * Our server, and the service worker, isolate the page and send a Content-Security-Policy with the worker's script: no
 * requests, no code from text. Where the page is not isolated, or the worker reports that it is "unguarded" before it
 * starts anything, one is made from a `blob:` of this page, which inherits the page's policy and imports the same file.
 * Where that is forbidden too, the worker starts without a policy: sandbox.js still removes what Python does not need.
 *
 *   own policy ──"unguarded"──▶ page's policy ──script error──▶ no policy
 */

/* global PYTHON_HASH -- written in by web/site_builder/assets.py: of all that starts Python */

import { blobAddress, trustedAddress } from "../page/site.js";
import { putOffLayOut } from "../page/visibility.js";
import { BootError, isAllowed } from "./messages.js";
import { runtime } from "./runtime-files.js";

const START_TIMEOUT_MS = 120_000; // nothing is sent while Python starts, which takes long on a slow device
const OTHER_VERSION = "This page and the Python of its site are of two versions. Reload the page; your edits are kept.";
const GRACE_MS = 2_000; // after a suspend, timers are overdue: a worker that lives answers by then

/** From the strictest to none. */
const POLICIES = ["own", "page", "none"];
let strictest = globalThis.crossOriginIsolated ? 0 : 1; // that this host allows; the first worker tells

export class WorkerClient extends EventTarget {
  #url;
  #role;
  #worker = null;
  #watchdog = 0;
  #starting = new AbortController();

  /**
   * @param {URL} url the worker's script
   * @param {"reader" | "planner" | "lab"} role what the worker does; also its name in developer tools
   * @param {object} status shown by widgets; every change dispatches "status"
   */
  constructor(url, role, status) {
    super();
    this.#url = url;
    this.#role = role;
    this.status = status;
  }

  // ---- overridden by each client

  /** @returns {import("./messages.js").Turn} which messages may come now */
  get turn() {
    return "boot";
  }

  /** @returns {{run: number | string, cell?: string} | null} the run in progress */
  get current() {
    return null;
  }

  /**
   * Loads the files that the worker starts from. Rejects with a BootError.
   * @param {(ratio: number, what?: string) => void} onProgress share that has arrived, 0 … 1, of what
   * @param {AbortSignal} _signal aborts the downloads of a start that was aborted
   * @returns {Promise<object>} the worker's first message
   */
  async load(onProgress, _signal) {
    return { files: await runtime.load(onProgress) };
  }

  /** Handles a message that is allowed now. @param {any} _message */
  receive(_message) {}

  /** Handles a message that is not allowed now. */
  refuse() {}

  /** Handles an error of the worker's script, or of loading it. @param {string} _message */
  handleScriptError(_message) {}

  /** Handles a worker that cannot be started, or timed out. @param {string} _reason a sentence */
  fail(_reason) {}

  // ---- shared by all clients

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
    putOffLayOut();
    const { signal } = this.#starting;
    const opening = this.#open(signal);
    const drop = () => opening.then((worker) => worker.terminate(), () => {});
    signal.addEventListener("abort", drop);
    opening.catch(() => {}); // what is wrong with the files is told first
    try {
      const loaded = await this.load((...progress) => signal.aborted || onProgress(...progress), signal);
      if (signal.aborted) return;
      this.setStatus({ starting: true });
      this.#watchStart();
      const worker = await opening;
      if (signal.aborted) return;
      signal.removeEventListener("abort", drop);
      this.#worker = worker;
      this.#listen(worker);
      this.post({ type: "boot", role: this.#role, ...loaded });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ScriptError) this.handleScriptError(error.message);
      else this.fail(error.reason ?? `Python could not be loaded (${error.message}).`);
    }
  }

  /** Makes a worker that has loaded its scripts, under the strictest policy that this host allows. */
  async #open(signal) {
    for (;;) {
      const tried = strictest;
      const worker = this.#make(POLICIES[tried]);
      const answer = firstAnswer(worker, signal);
      worker.postMessage({ type: "prepare", unguarded: tried > 0 });
      void runtime.snapshot.then((snapshot) => snapshot && worker.postMessage({ type: "restore", snapshot }));
      const { type, version, problem } = await answer;
      if (type === "prepared" && version === PYTHON_HASH) return worker;
      worker.terminate();
      if (type === "prepared") throw new BootError(OTHER_VERSION);
      const isOther = type === "unguarded" ? tried === 0 : tried === 1;
      if (signal.aborted || !isOther) throw new ScriptError(problem);
      strictest = Math.max(strictest, tried + 1);
    }
  }

  #make(policy) {
    const script = policy === "page" ? blobAddress(this.#url) : trustedAddress(this.#url);
    try {
      return new Worker(script, { type: "module", name: this.#role });
    } catch (error) {
      throw new BootError(`The browser refused to start a worker for Python (${error.message}).`);
    }
  }

  #listen(worker) {
    worker.addEventListener("message", ({ data }) => {
      if (worker !== this.#worker) return;
      if (!isAllowed(data, this.turn, this.current)) this.refuse();
      else if (data.type === "snapshot") runtime.keep(data.snapshot);
      else this.receive(data);
    });
    worker.addEventListener("error", (event) => {
      if (worker !== this.#worker) return;
      event.preventDefault();
      this.handleScriptError(problemOf(event));
    });
  }

  /** Sends a message to the worker. */
  post(message) {
    this.#worker.postMessage(message);
  }

  /**
   * Fails when the worker sends nothing for so long.
   * @param {number} timeoutMs 0 for no limit
   * @param {string} [when] the rest of the sentence
   */
  watch(timeoutMs, when = "") {
    const seconds = timeoutMs / 1000;
    this.failAfter(timeoutMs, `Python sent nothing for ${seconds} seconds${when && ` ${when}`}.`);
  }

  /** Fails with `reason` after so long, unless it is called again; 0 cancels. */
  failAfter(timeoutMs, reason) {
    clearTimeout(this.#watchdog);
    if (timeoutMs <= 0) return;
    const grace = Math.min(GRACE_MS, timeoutMs / 2);
    const giveUp = () => this.fail(reason);
    this.#watchdog = setTimeout(() => (this.#watchdog = setTimeout(giveUp, grace)), timeoutMs - grace);
  }

  /** Sets the worker aside, alive; its messages are ignored until `resume`. @returns {Worker} */
  park() {
    const worker = this.#worker;
    this.#worker = null;
    this.end();
    return worker;
  }

  /** Takes a worker back that was set aside, in place of the one before. @param {Worker} worker */
  resume(worker) {
    this.end();
    this.#worker = worker;
  }

  /**
   * Takes over a worker that another client has started and set aside.
   * @param {Worker} worker
   * @param {boolean} isReady else it is still starting
   */
  adopt(worker, isReady) {
    this.resume(worker);
    this.#listen(worker);
    if (!isReady) this.#watchStart();
  }

  #watchStart() {
    this.watch(START_TIMEOUT_MS, "while starting. Try again");
  }

  /** Terminates the worker, if there is one, and aborts a start that still loads. */
  end() {
    this.#starting.abort();
    this.#starting = new AbortController();
    clearTimeout(this.#watchdog);
    this.#worker?.terminate();
    this.#worker = null;
  }
}

class ScriptError extends Error {}

/** The first answer of a worker that was just made: its message, or the problem of its script, or "" once aborted. */
function firstAnswer(worker, signal) {
  return new Promise((resolve) => {
    worker.addEventListener("message", ({ data }) => resolve({ problem: "it sent something else", ...data }), { once: true });
    const onError = (event) => {
      event.preventDefault();
      resolve({ type: "", problem: problemOf(event) });
    };
    worker.addEventListener("error", onError, { once: true });
    signal.addEventListener("abort", () => resolve({ type: "", problem: "" }), { once: true });
  });
}

function problemOf({ message }) {
  return message || "its script could not be loaded";
}
