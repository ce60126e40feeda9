/**
 * Fetches for an interpreter the packages of this site, by name, and files that the page makes for a run.
 *
 * It runs in the page. A worker that runs reader code may fetch nothing: it sends a message, and its request is
 * checked here. A package that was fetched is cached for this visit.
 */

/* global PACKAGES -- written in by web/site_builder/assets.py, from the lock of the Pyodide we ship */

import { fetchBytes } from "./runtime-files.js";
import { BootError } from "./messages.js";
import { SITE } from "../page/site.js";

const fetched = new Map(); // name → bytes, for this visit
const damaged = new Set();
const FETCHES_LIMIT = 100; // of one run

/** Fetches what the cells of a page need, run by run. */
export class PackageFetcher {
  #report;
  #abort = new AbortController();
  #left = FETCHES_LIMIT;

  /** @param {(name: string, share: string) => void} report called with what is being fetched; both empty at its end */
  constructor(report) {
    this.#report = report;
  }

  /** Begins a run: its fetches are counted anew. */
  begin() {
    this.#abort = new AbortController();
    this.#left = FETCHES_LIMIT;
  }

  /** Aborts what is being fetched. */
  stop() {
    this.#abort.abort();
  }

  /**
   * Fetches one wheel, or one of the files of a run.
   * @param {{id: number, name: string}} request
   * @param {Record<string, (signal: AbortSignal) => Promise<ArrayBuffer>>} [files]
   * @returns {Promise<{id: number, bytes?: ArrayBuffer, reason: string, stopped: boolean}>}
   */
  async fetch({ id, name }, files = {}) {
    const { signal } = this.#abort;
    const file = Object.hasOwn(files, name) ? files[name] : null;
    try {
      return { id, bytes: await this.#fetchBytes(name, signal, file), reason: "", stopped: false };
    } catch (error) {
      return { id, reason: error.reason ?? error.message, stopped: signal.aborted };
    }
  }

  async #fetchBytes(name, signal, file) {
    if (--this.#left < 0) throw new BootError(`One run may fetch at most ${FETCHES_LIMIT} wheels.`);
    if (!file && !isPackage(name)) throw new BootError("This site has no such package.");
    if (!file && fetched.has(name)) return fetched.get(name);
    this.#report(name, "");
    try {
      if (file) return await file(signal);
      return await fetchPackage(name, (ratio) => this.#report(name, `${Math.floor(ratio * 100)}%`), signal);
    } finally {
      this.#report("", "");
    }
  }
}

/** Whether this site has a package of that name. */
function isPackage(name) {
  return Object.hasOwn(PACKAGES, name);
}

/** Drops a damaged wheel of a package: next time it is fetched without any cache. */
export function dropPackage(name) {
  if (!isPackage(name)) return;
  fetched.delete(name);
  damaged.add(name);
}

/**
 * Fetches the wheel of a package from this site, once a visit.
 * @param {string} name a key of `PACKAGES`
 * @param {(ratio: number) => void} onProgress share of its bytes that has arrived, 0 … 1
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} whose `reason` is a sentence for the reader, with what to do
 */
export async function fetchPackage(name, onProgress, signal) {
  if (fetched.has(name)) return fetched.get(name);
  const { bytes: total, file_name: file } = PACKAGES[name];
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / total));
  const cache = damaged.has(name) ? "reload" : "default"; // the browser's copy is the damaged one
  const bytes = await fetchBytes(new URL(`pyodide/${file}`, SITE), onBytes, { what: name, signal, cache });
  fetched.set(name, bytes);
  return bytes;
}
