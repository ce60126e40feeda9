/**
 * The packages that a worker of this page can give its Python: numpy, micropip and packaging.
 *
 *   const bytes = await fetchPackage("numpy", (ratio) => show(ratio));   // before or after seal()
 *   installPackage(pyodide, "numpy", bytes);                             // `import numpy` now works
 *
 * The bytes may be kept, by the page for instance, and be installed in another interpreter later:
 * it is `installPackage` that checks them, so whatever is imported is the file of the lock.
 */

/* global PACKAGES -- written in by web/press/assets.py, from the lock of the Pyodide we ship */

import { BootError, fetchBytes } from "./download.js";

/** @type {Record<string, {file_name: string, sha256: string, bytes: number, version: string}>} */
export const packages = PACKAGES;

// Taken now: reader code may later put something else in its place.
const { URL } = self;
const page = new URL("..", self.location.href);
const addresses = new Map(
  Object.entries(packages).map(([name, { file_name }]) => [
    name,
    new URL(`pyodide/${file_name}`, page),
  ]),
);
const damaged = new Set();

/**
 * Fetch the wheel of a package from this site.
 * @param {string} name a key of `packages`
 * @param {(ratio: number) => void} onProgress share of its bytes that has arrived, 0 … 1
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} whose `reason` is a sentence for the reader, with what to do
 */
export function fetchPackage(name, onProgress, signal) {
  const total = packages[name].bytes;
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / total));
  const cache = damaged.has(name) ? "reload" : "default"; // what was kept is what was damaged
  return fetchBytes(addresses.get(name), onBytes, { what: name, signal, cache });
}

/**
 * Check the wheel of a package and unpack it where Python finds it.
 * @param {any} pyodide an interpreter made by `startPyodide`
 * @param {string} name a key of `packages`
 * @param {ArrayBuffer} bytes what `fetchPackage` gave
 * @throws {BootError} the bytes are not those of the lock; nothing was unpacked
 */
export function installPackage(pyodide, name, bytes) {
  const { install } = pyodide.pyimport("pycell.wheels");
  const reason = install(new Uint8Array(bytes), name, packages[name].sha256, packages[name].bytes);
  if (!reason) return;
  damaged.add(name);
  throw new BootError(reason);
}

/**
 * Fetch a wheel that this site's host serves beside the site's own.
 * @param {string} address as a reader wrote it, relative to the page or whole
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<ArrayBuffer>}
 * @throws {BootError} also when the address leads away from this host or to something else
 */
export function fetchWheel(address, signal) {
  const url = URL.canParse(address, page) ? new URL(address, page) : null;
  if (url?.origin !== page.origin || url.search || !url.pathname.endsWith(".whl")) {
    throw new BootError(
      `micropip installs only wheels that this page's own host serves, ${page.origin}; ` +
        `${address} is not one of them.`,
    );
  }
  const what = url.pathname.split("/").at(-1);
  const remedy = `It was looked for at ${url}.`;
  return fetchBytes(url, () => {}, { what, remedy, signal, redirect: "error", credentials: "omit" });
}
