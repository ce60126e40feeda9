/**
 * The life of one worker with a Python in it, for whoever owns it: begun, watched, heard, ended.
 *
 *   begin() ──▶ the worker has its first message ──▶ what it says is heard ──▶ end()
 *      └── the browser refuses it        └── it breaks, or says nothing for too long
 *
 * Whatever goes wrong the owner is told once and in words; it ends the worker, or begins another.
 * A worker that has been ended is heard no more, whatever it still says.
 */

import { scriptAddress } from "../frontier/script.js";

export const DOWNLOAD_SILENCE_MS = 30_000; // no byte for that long: the line is dead
export const START_SILENCE_MS = 120_000; // starting says nothing, and a slow device takes its time

/**
 * @typedef {object} Owner
 * @property {(data: any) => void} hear a message of the worker
 * @property {(words: string) => void} broke its script failed, or could not be loaded
 * @property {(reason: string) => void} refused the browser starts no worker, in a sentence
 */

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
    try {
      this.#worker = new Worker(scriptAddress(this.#url), { type: "module", name: this.#name });
    } catch (error) {
      return this.#owner.refused(`The browser refused to start a worker for Python (${error.message}).`);
    }
    const worker = this.#worker;
    worker.addEventListener("message", ({ data }) => worker === this.#worker && this.#owner.hear(data));
    worker.addEventListener("error", (event) => {
      if (worker !== this.#worker) return;
      event.preventDefault();
      this.#owner.broke(event.message || "its script could not be loaded");
    });
    worker.postMessage(message);
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
