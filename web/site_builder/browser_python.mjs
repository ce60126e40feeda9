// Starts the page's Python in Node, as the page does, and saves what it has after importing what workers import:
//
//   node browser_python.mjs bytecode MODULES.zip OUT.zip MODULE …                the bytecode of it, see bytecode.py
//   node browser_python.mjs snapshot LIBRARY.zip MODULES.zip OUT.bin MODULE …    its memory
//
// The same files give the same bytes: nothing of this machine, of the time and of chance gets into a snapshot. What starts
// from it seeds the random numbers anew.

import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [what, ...given] = process.argv.slice(2);
process.on("uncaughtException", ({ message }) => {
  process.exitCode = 1;
  console.error(message); // without the line of Pyodide that threw: it is a megabyte long
});
const env = { HOME: "/home/pyodide", PYTHONHASHSEED: "0" }; // a fixed hash seed keeps the order of sets
await { bytecode, snapshot }[what](...given);
process.exit(); // an event loop of Python keeps Node alive

async function bytecode(archive, out, ...modules) {
  // Without column positions bytecode is a sixth smaller.
  const pyodide = await loadPyodide({ env: { ...env, PYTHONNODEBUGRANGES: "1" } });
  importAll(pyodide, archive, modules);
  pyodide.FS.writeFile("/tmp/bytecode.py", readFileSync(new URL("bytecode.py", import.meta.url)));
  pyodide.runPython("sys.path.append('/tmp'); import bytecode; bytecode.write_bytecode('/tmp/out.zip')");
  writeFileSync(out, pyodide.FS.readFile("/tmp/out.zip"));
}

async function snapshot(library, archive, out, ...modules) {
  process.argv[1] = "/python"; // Emscripten keeps it as the name of the program
  Date.now = () => 0;
  performance.now = () => 0;
  const timers = ["setTimeout", "clearTimeout", "setInterval", "clearInterval"].map((name) => [name, globalThis[name]]);
  // As in boot.js.
  const info = { abi_version: "2026_0", arch: "wasm32", platform: "emscripten_5_0_3", python: "3.14.0" };
  const pyodide = await loadPyodide({
    _makeSnapshot: true,
    env,
    jsglobals: Object.assign(Object.create(null), Object.fromEntries(timers)), // as in the worker: see sandbox.js
    lockFileContents: { info, packages: {} },
    stdLibURL: library,
  });
  pyodide.runPython("import random");
  importAll(pyodide, archive, modules);
  pyodide.runPython("random.seed(0)");
  writeFileSync(out, pyodide.makeMemorySnapshot());
}

/** Imports modules, those of an archive too. */
function importAll(pyodide, archive, modules) {
  pyodide.FS.writeFile("/lib/unfrozen.zip", readFileSync(archive));
  pyodide.runPython("import sys; sys.path.insert(0, '/lib/unfrozen.zip')");
  for (const module of modules) pyodide.pyimport(module).destroy();
}
