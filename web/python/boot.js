/**
 * Starts Pyodide inside a worker, from the files it was handed and two scripts of this site, and installs
 * packages in it.
 *
 * Pyodide fetches its own files, and when one fails it logs a warning and waits for ever. So the page
 * fetches them first (runtime-files.js), where a failure can be reported, and they are passed on when Pyodide
 * asks. The worker itself requests nothing over the network but `pyodide.js` and `pyodide.asm.js`.
 */

/* global PACKAGES -- written in by web/site_builder/assets.py, from the lock of the Pyodide we ship */

import { BootError, BROKEN, orExplain, PACKED } from "./messages.js";
import { jsGlobals } from "./sandbox.js";

const RUNTIME = new URL("../pyodide/", import.meta.url).href;

/** What the packages of this Pyodide are built for. */
const INFO = {
  abi_version: "2026_0",
  arch: "wasm32",
  platform: "emscripten_5_0_3",
  python: "3.14.0",
};
/** The packages of this site that a cell can import. */
export const PACKAGE_NAMES = Object.keys(PACKAGES);

/** @typedef {{file_name: string, sha256: string, bytes: number, version: string}} Package */

/**
 * Starts an interpreter with the article's own Python: from a snapshot of an earlier start, which holds what that one
 * had imported, or from the beginning, where there is none or it is of no use here.
 * @param {import("./runtime-files.js").Files} files
 * @param {object} options
 * @param {string} options.module what to import
 * @param {boolean} options.keeps whether nobody waits for it, so that it passes a memory on that it has unpacked
 * @param {(memory: WebAssembly.Memory) => void} options.onMemory gets the memory that its arrays lie in
 * @param {(snapshot: Blob) => void} options.onSnapshot gets the memory, before anything else has run in it, where
 *   it has more than the snapshot that it was started from, or has unpacked that
 * @returns {Promise<any>} the Pyodide API
 */
export async function startPyodide(files, { module, keeps, onMemory, onSnapshot }) {
  const stored = prepared.memory ?? memoryOf(files.snapshot);
  prepared.memory = null; // 30 MB
  const scripts = await prepared.scripts;
  const start = (options) => startRuntime(scripts, files, onMemory, { ...options, _makeSnapshot: true });
  const restore = async () => start({ _loadSnapshot: await stored });
  const pyodide = await (stored ? restore().catch(() => start()) : start());
  const isNew = pyodide.runPython(IMPORT.replaceAll("MODULE", module));
  const isUnpacked = keeps && files.snapshot?.type === PACKED;
  try {
    if (isNew || isUnpacked) onSnapshot(new Blob([isNew ? pyodide.makeMemorySnapshot() : await stored])); // copied here, not by the page
  } catch {
    // Python is up; the next start takes as long as this one
  }
  return pyodide;
}

/** Imports a module, and says whether that was new; a snapshot must not repeat the seed of random numbers. */
const IMPORT = `
import sys
if "/lib/unfrozen.zip" not in sys.path:
    sys.path.insert(0, "/lib/unfrozen.zip")
if "random" in sys.modules:
    sys.modules["random"].seed()
is_new = "MODULE" not in sys.modules
import MODULE
is_new
`;

/** Promises of Pyodide's two scripts, and of the bytes of a snapshot that was known before the files were. */
const prepared = { scripts: null, memory: null };

/** @param {Blob | null} snapshot packed as the site sends it, or as a worker has made it; null where there is none */
function memoryOf(snapshot) {
  if (!snapshot) return null;
  const unpacked = () => snapshot.stream().pipeThrough(new DecompressionStream("gzip"));
  const memory = new Response(snapshot.type === PACKED ? unpacked() : snapshot).arrayBuffer();
  memory.catch(() => {}); // told at the start
  return memory;
}

/** Fetches Pyodide's two scripts. */
export function prepareScripts() {
  delete self.importScripts; // Pyodide would try it, to see whether it is there: not in a module
  prepared.scripts = orExplain(BROKEN, () => Promise.all([import(`${RUNTIME}pyodide.js`), import(`${RUNTIME}pyodide.asm.js`)]));
  prepared.scripts.catch(() => {}); // told at the start
}

/** Reads the memory that the start will take. @param {Blob} snapshot */
export function prepareMemory(snapshot) {
  prepared.memory = memoryOf(snapshot);
}

async function startRuntime([{ loadPyodide }, { default: createPyodideModule }], files, onMemory, start) {
  const pyodide = await new Promise((resolve, reject) => {
    const restore = answerFromMemory(files, reject, onMemory);
    const options = {
      indexURL: RUNTIME,
      createPyodideModule,
      lockFileContents: { info: INFO, packages: {} }, // the full one has 114 kB; ours are installed below
      packageBaseUrl: RUNTIME,
      jsglobals: jsGlobals(),
      ...start,
    };
    loadPyodide(options).then(resolve, reject).finally(restore);
  });
  pyodide.FS.writeFile("/lib/unfrozen.zip", new Uint8Array(files.core));
  return pyodide;
}

/** Replaces the network while Pyodide loads; returns a function that restores it. */
function answerFromMemory(files, reject, onMemory) {
  const { fetch } = self;
  const { instantiateStreaming } = WebAssembly;
  self.fetch = async (url) => {
    if (String(url).endsWith("/python_stdlib.zip")) return new Response(files.stdlib);
    if (String(url).endsWith("/pyodide.asm.wasm")) return new Response();
    throw new BootError(`Pyodide requested ${url}, which is not part of this site.`);
  };
  WebAssembly.instantiateStreaming = async (_answer, imports) => {
    try {
      const instance = await WebAssembly.instantiate(files.module, imports);
      onMemory(imports.env.memory ?? instance.exports.memory);
      return { module: files.module, instance };
    } catch (error) {
      reject(new BootError(`Python could not be started (${error.message}). Close other tabs and try again.`));
      throw error;
    }
  };
  return () => Object.assign(self, { fetch }) && Object.assign(WebAssembly, { instantiateStreaming });
}

/**
 * Installs the wheel of a package. Its bytes may come from a cache, so the hash of the lock is checked here.
 * @param {any} pyodide an interpreter made by `startPyodide`
 * @param {string} name a key of the lock's packages
 * @param {ArrayBuffer} bytes
 * @throws {BootError} the bytes are not those of the lock; nothing was unpacked
 */
export function installPackage(pyodide, name, bytes) {
  const { install } = pyodide.pyimport("pycell.packages");
  const { sha256, bytes: size } = PACKAGES[name];
  const reason = install(new Uint8Array(bytes), name, sha256, size);
  if (reason) throw new BootError(reason);
}
