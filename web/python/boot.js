/**
 * Starts Pyodide inside a worker, from the files it was handed and two scripts of this site.
 *
 * Pyodide fetches its own files, and when one fails it logs a warning and waits for ever. So they
 * are fetched before (files.js), where a failure can be told, and handed to it when it asks. The
 * worker itself asks for nothing over the network but `pyodide.mjs` and `pyodide.asm.mjs`.
 */

import { BootError, orExplain } from "./exit-reasons.js";
import { jsGlobals } from "./sandbox.js";

/** What the packages of this Pyodide are built for. */
export const INFO = {
  abi_version: "2026_0",
  arch: "wasm32",
  platform: "emscripten_5_0_3",
  python: "3.14.0",
};
// Pyodide itself is offered no packages: packages.js has them. The full lock file has 114 kB.
const LOCK = { info: INFO, packages: {} };

/**
 * Start an interpreter and give it the article's own Python.
 * @param {import("./runtime-files.js").Files} files
 * @param {(memory: WebAssembly.Memory) => void} [onMemory] gets the memory that its arrays lie in
 * @returns {Promise<any>} the Pyodide API
 */
export async function startPyodide(files, onMemory = () => {}) {
  const runtime = new URL("../pyodide/", import.meta.url).href;
  delete self.importScripts; // Pyodide would try it, to see whether it is there: not in a module
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
