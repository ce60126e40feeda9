/**
 * Fetches wheels for an interpreter: packages of this site by name, wheels of its host by address.
 *
 * It runs in the page. A worker that runs reader code may fetch nothing: it asks in a message, and the
 * request is looked up or checked here. A package that was fetched once is kept for this visit.
 */

import { fetchBytes } from "./runtime-files.js";
import { BootError } from "./exit-reasons.js";
import { packages } from "./packages.js";

const site = new URL("../", import.meta.url);
const fetched = new Map(); // name → bytes, for this visit
const damaged = new Set();
const MOST_IN_A_RUN = 100;

/** What the cells of one page fetch, run by run. */
export class PackageFetcher {
  #show;
  #line = new AbortController();
  #left = MOST_IN_A_RUN;

  /** @param {(name: string, share: string) => void} show what is on its way; both empty at its end */
  constructor(show) {
    this.#show = show;
  }

  /** A run begins. */
  begin() {
    this.#line = new AbortController();
    this.#left = MOST_IN_A_RUN;
  }

  /** Ends what is being fetched. */
  stop() {
    this.#line.abort();
  }

  /**
   * Fetches one wheel.
   * @param {{want: number, name: string, isAddress: boolean}} wanted
   * @returns {Promise<{want: number, bytes?: ArrayBuffer, reason: string, stopped: boolean}>}
   */
  async fetch({ want, name, isAddress }) {
    const { signal } = this.#line;
    try {
      return { want, bytes: await this.#bytes(name, isAddress, signal), reason: "", stopped: false };
    } catch (error) {
      return { want, reason: error.reason ?? error.message, stopped: signal.aborted };
    }
  }

  async #bytes(name, isAddress, signal) {
    if (--this.#left < 0) throw new BootError(`One run may fetch ${MOST_IN_A_RUN} wheels, and no more.`);
    if (!isAddress && !isPackage(name)) throw new BootError("This site carries no such package.");
    if (!isAddress && fetched.has(name)) return fetched.get(name);
    const shown = isAddress ? name.split("/").at(-1).slice(0, 80) : name;
    this.#show(shown, "");
    try {
      if (isAddress) return await fetchWheel(name, signal);
      return await fetchPackage(name, (ratio) => this.#show(shown, `${Math.floor(ratio * 100)}%`), signal);
    } finally {
      this.#show("", "");
    }
  }
}

/** Whether this site carries a package of that name. */
function isPackage(name) {
  return Object.hasOwn(packages, name);
}

/** Drops what was fetched for a package and is not its wheel: next time no cache is asked. */
export function dropPackage(name) {
  if (!isPackage(name)) return;
  fetched.delete(name);
  damaged.add(name);
}

/**
 * Fetches the wheel of a package from this site, once a visit.
 * @param {string} name a key of `packages`
 * @param {(ratio: number) => void} onProgress share of its bytes that has arrived, 0 … 1
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} whose `reason` is a sentence for the reader, with what to do
 */
export async function fetchPackage(name, onProgress, signal) {
  if (fetched.has(name)) return fetched.get(name);
  const { bytes: total, file_name: file } = packages[name];
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / total));
  const cache = damaged.has(name) ? "reload" : "default"; // the browser's copy is the damaged one
  const bytes = await fetchBytes(new URL(`pyodide/${file}`, site), onBytes, { what: name, signal, cache });
  fetched.set(name, bytes);
  return bytes;
}

/**
 * Fetches a wheel that this site's host serves beside the site's own.
 * @param {string} address as a reader wrote it, relative to the page or whole
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} also when the address leads away from this host or to something else
 */
function fetchWheel(address, signal) {
  const url = URL.canParse(address, site) ? new URL(address, site) : null;
  if (url?.origin !== site.origin || url.search || !url.pathname.endsWith(".whl")) {
    throw new BootError(
      `micropip installs only wheels that this page's own host serves, ${site.origin}; ` +
        `${address} is not one of them.`,
    );
  }
  const what = url.pathname.split("/").at(-1);
  const remedy = `It was looked for at ${url}.`;
  return fetchBytes(url, () => {}, { what, remedy, signal, redirect: "error", credentials: "omit" });
}
