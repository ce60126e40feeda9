/**
 * A Python that has started and run nothing, kept for the next restart: after a Stop that had to kill, or a cell as
 * printed that follows edited ones, the next run begins at once.
 */

import { runtime } from "./runtime-files.js";
import { WorkerClient } from "./worker-client.js";

const LEAST_MEMORY = 4; // GiB of the device, as browsers that tell it round it: below, none is kept

/** Loads what a worker for cells starts from. @returns {Promise<object>} its first message */
export async function loadReader(onProgress) {
  const signal = globalThis.crossOriginIsolated ? new Int32Array(new SharedArrayBuffer(4)) : null;
  return { files: await runtime.load(onProgress), signal };
}

export class Spare extends WorkerClient {
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
    return loaded;
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
