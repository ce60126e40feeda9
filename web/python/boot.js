/**
 * Starts Pyodide inside the worker, from files of this site only.
 *
 *   pyodide/pyodide.asm.wasm   ─ streamed, counted, compiled ─┐
 *   pyodide/python_stdlib.zip  ─ streamed, counted ───────────┼─▶ interpreter ─▶ pycell session
 *   python/unfrozen.zip        ─ fetched ─────────────────────┘
 *
 * Pyodide fetches its own files, and when one fails it logs a warning and waits for ever. So the
 * files are fetched here, where a failure can be told, and handed to it when it asks for them.
 * A restart after Stop gets them, the compiled module included, from the page that kept them.
 */

import { BootError, RUNTIME_BYTES, fetchBytes, fetchCounted, orExplain } from "./download.js";
import { jsGlobals } from "./seal.js";

/** @typedef {{module: WebAssembly.Module, stdlib: ArrayBuffer, core: ArrayBuffer}} Files */

/** What the packages of this Pyodide are built for. */
export const INFO = {
  abi_version: "2026_0",
  arch: "wasm32",
  platform: "emscripten_5_0_3",
  python: "3.14.0",
};
// Pyodide itself is offered no packages: packages.js fetches them. The full lock file has 114 kB.
const LOCK = { info: INFO, packages: {} };

/**
 * Fetch what an interpreter is made of.
 * @param {(ratio: number) => void} onProgress share of the bytes that have arrived, 0 … 1
 * @returns {Promise<Files>}
 */
export async function fetchFiles(onProgress) {
  const runtime = new URL("../pyodide/", self.location.href);
  const total = Object.values(RUNTIME_BYTES).reduce((sum, bytes) => sum + bytes, 0);
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / total));
  const [module, stdlib, core] = await Promise.all([
    compile(new URL("pyodide.asm.wasm", runtime), onBytes),
    fetchBytes(new URL("python_stdlib.zip", runtime), onBytes),
    fetchBytes(new URL("unfrozen.zip", self.location.href), () => {}),
  ]);
  return { module, stdlib, core };
}

/**
 * Start an interpreter and give it the article's own Python.
 * @param {Files} files
 * @param {(memory: WebAssembly.Memory) => void} [onMemory] gets the memory that its arrays lie in
 * @returns {Promise<any>} the Pyodide API
 */
export async function startPyodide(files, onMemory = () => {}) {
  const runtime = new URL("../pyodide/", self.location.href).href;
  const broken = "A part of Python could not be loaded. Check the connection and try again";
  const [{ loadPyodide }, { default: createPyodideModule }] = await orExplain(broken, () =>
    Promise.all([import(`${runtime}pyodide.mjs`), import(`${runtime}pyodide.asm.mjs`)]),
  );
  const pyodide = await new Promise((resolve, reject) => {
    const giveBack = answerFromMemory(files, reject, onMemory);
    const options = {
      indexURL: runtime,
      createPyodideModule,
      lockFileContents: LOCK,
      packageBaseUrl: runtime,
      jsglobals: jsGlobals(),
    };
    loadPyodide(options).then(resolve, reject).finally(giveBack);
  });
  pyodide.FS.writeFile("/lib/unfrozen.zip", new Uint8Array(files.core));
  pyodide.runPython("import sys; sys.path.insert(0, '/lib/unfrozen.zip')");
  return pyodide;
}

async function compile(url, onBytes) {
  const answer = await fetchCounted(url, onBytes);
  return orExplain(
    "This browser refused to compile WebAssembly, which Python needs here. A content policy, " +
      "a lockdown mode or an extension may forbid it; allow it for this page and try again",
    () => WebAssembly.compileStreaming(answer),
  );
}

/** Stand in for the network while Pyodide loads; returns a function that undoes it. */
function answerFromMemory(files, reject, onMemory) {
  const { fetch } = self;
  const { instantiateStreaming } = WebAssembly;
  self.fetch = async (url) => {
    if (String(url).endsWith("/python_stdlib.zip")) return new Response(files.stdlib);
    if (String(url).endsWith("/pyodide.asm.wasm")) return new Response();
    throw new BootError(`Pyodide asked for ${url}, which this site does not carry.`);
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
