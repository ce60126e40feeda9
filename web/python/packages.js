/**
 * The packages that a worker of this page can give its Python: numpy, micropip and packaging.
 *
 *   supply.js fetches the bytes, in the page   ─▶   installPackage(pyodide, "numpy", bytes)
 *
 * The bytes may be kept and be installed in another interpreter later: it is `installPackage` that
 * checks them, so whatever is imported is the file of the lock.
 */

/* global PACKAGES -- written in by web/site_builder/assets.py, from the lock of the Pyodide we ship */

import { BootError } from "./exit-reasons.js";

/** @type {Record<string, {file_name: string, sha256: string, bytes: number, version: string}>} */
export const packages = PACKAGES;

/**
 * Check the wheel of a package and unpack it where Python finds it.
 * @param {any} pyodide an interpreter made by `startPyodide`
 * @param {string} name a key of `packages`
 * @param {ArrayBuffer} bytes what `fetchPackage` gave
 * @throws {BootError} the bytes are not those of the lock; nothing was unpacked
 */
export function installPackage(pyodide, name, bytes) {
  const { install } = pyodide.pyimport("pycell.packages");
  const reason = install(new Uint8Array(bytes), name, packages[name].sha256, packages[name].bytes);
  if (reason) throw new BootError(reason);
}
