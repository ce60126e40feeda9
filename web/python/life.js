/**
 * The life of one worker with a Python in it, for whoever owns it: begun, watched, heard, ended.
 *
 *   begin() ──▶ the worker has its first message ──▶ what it says is heard ──▶ end()
 *      └── the browser refuses it        └── it breaks, or says nothing for too long
 *
 * Whatever goes wrong the owner is told once and in words; it ends the worker, or begins another.
 * A worker that has been ended is heard no more, whatever it still says.
 *
 * Our server sends a policy with the worker's script: no request, no code made of text. On a host
 * that sends none, a worker that runs reader code would have none. It says so before it starts
 * anything, and is begun again as a `blob:` of this page, which takes the page's policy, and imports
 * the same file. Where that is forbidden too, the worker starts as it is: seal.js still seals it.
 *
 *   own policy ──"bare"──▶ page's policy ──it breaks before a word──▶ no policy
 */

import { guardedAddress, scriptAddress } from "../python/script-address.js";

export const START_SILENCE_MS = 120_000; // starting says nothing, and a slow device takes its time

/**
 * @typedef {object} Owner
 * @property {(data: any) => void} hear a message of the worker
 * @property {(words: string) => void} broke its script failed, or could not be loaded
 * @property {(reason: string) => void} refused the browser starts no worker, in a sentence
 */

/** @type {"own" | "page" | "none"} what guards the workers of this page; found out by the first */
let policy = "own";

export class WorkerLife {
  #url;
  #name;
  #owner;
  #worker = null;
  #watchdog = 0;

  /**
   * @param {URL} url the worker's script
   * @param {string} name what the browser's tools call it
   * @param {Owner} owner
   */
  constructor(url, name, owner) {
    this.#url = url;
    this.#name = name;
    this.#owner = owner;
  }

  /** Whether there is a worker; it may still be starting. */
  get begun() {
    return this.#worker !== null;
  }

  /** Starts a worker in place of the one before, and gives it its first message. */
  begin(message) {
    this.end();
    this.#launch(message);
  }

  #launch(message) {
    const script = policy === "page" ? guardedAddress(this.#url) : scriptAddress(this.#url);
    try {
      this.#worker = new Worker(script, { type: "module", name: this.#name });
    } catch (error) {
      return this.#owner.refused(`The browser refused to start a worker for Python (${error.message}).`);
    }
    this.#listen(this.#worker, message);
    this.#worker.postMessage({ ...message, bare: policy !== "own" });
  }

  #listen(worker, message) {
    let said = false;
    worker.addEventListener("message", ({ data }) => {
      if (worker !== this.#worker) return;
      const isBare = !said && data?.type === "bare" && policy === "own";
      said = true;
      if (isBare) this.#relaunch("page", message);
      else this.#owner.hear(data);
    });
    worker.addEventListener("error", (event) => {
      if (worker !== this.#worker) return;
      event.preventDefault();
      if (!said && policy === "page") this.#relaunch("none", message);
      else this.#owner.broke(event.message || "its script could not be loaded");
    });
  }

  #relaunch(next, message) {
    policy = next;
    this.#worker.terminate();
    this.#worker = null;
    this.#launch(message);
  }

  /** Says something to the worker that is there. */
  post(message) {
    this.#worker.postMessage(message);
  }

  /**
   * Python that says nothing for so long hangs: `silent` is called instead of waiting for ever.
   * @param {number} silenceMs 0 waits for ever
   * @param {(seconds: number) => void} [silent]
   */
  watch(silenceMs, silent) {
    clearTimeout(this.#watchdog);
    if (silenceMs > 0) this.#watchdog = setTimeout(() => silent(silenceMs / 1000), silenceMs);
  }

  /** Terminates the worker, if there is one. */
  end() {
    this.watch(0);
    this.#worker?.terminate();
    this.#worker = null;
  }
}
