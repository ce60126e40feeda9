/**
 * Fetches wheels for an interpreter: those of this site by name, others of its host by address.
 *
 * It runs in the page, or in a worker without reader code. A worker with reader code asks for a
 * wheel in a message, and what it asks for is looked up or checked here.
 */

import { fetchBytes } from "./download.js";
import { BootError } from "./errors.js";
import { packages } from "./packages.js";

const site = new URL("../", import.meta.url);
const damaged = new Set();

/** Whether this site carries a package of that name. */
export function isPackage(name) {
  return Object.hasOwn(packages, name);
}

/** Note that what was fetched for a package was not its wheel: next time no cache is asked. */
export function noteDamaged(name) {
  damaged.add(name);
}

/**
 * Fetch the wheel of a package from this site.
 * @param {string} name a key of `packages`
 * @param {(ratio: number) => void} onProgress share of its bytes that has arrived, 0 … 1
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} whose `reason` is a sentence for the reader, with what to do
 */
export function fetchPackage(name, onProgress, signal) {
  const { bytes: total, file_name: file } = packages[name];
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / total));
  const cache = damaged.has(name) ? "reload" : "default"; // what was kept is what was damaged
  return fetchBytes(new URL(`pyodide/${file}`, site), onBytes, { what: name, signal, cache });
}

/**
 * Fetch a wheel that this site's host serves beside the site's own.
 * @param {string} address as a reader wrote it, relative to the page or whole
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} also when the address leads away from this host or to something else
 */
export function fetchWheel(address, signal) {
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
