// Starts the page's Python in Node and saves its memory once it has imported what workers import:
// `node snapshot.mjs LIBRARY.zip MODULES.zip OUT.bin MODULE …`. The same files give the same bytes: nothing of this machine,
// of the time and of chance gets in. What starts from it seeds the random numbers anew.

import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [library, archive, out, ...modules] = process.argv.slice(2);
process.on("uncaughtException", ({ message }) => {
  process.exitCode = 1;
  console.error(message); // without the line of Pyodide that threw: it is a megabyte long
});
process.argv[1] = "/python"; // Emscripten keeps it as the name of the program
Date.now = () => 0;
performance.now = () => 0;
const timers = ["setTimeout", "clearTimeout", "setInterval", "clearInterval"].map((name) => [name, globalThis[name]]);
// As in boot.js.
const INFO = { abi_version: "2026_0", arch: "wasm32", platform: "emscripten_5_0_3", python: "3.14.0" };
const pyodide = await loadPyodide({
  _makeSnapshot: true,
  env: { HOME: "/home/pyodide", PYTHONHASHSEED: "0" },
  jsglobals: Object.assign(Object.create(null), Object.fromEntries(timers)), // as in the worker: see sandbox.js
  lockFileContents: { info: INFO, packages: {} },
  stdLibURL: library,
});
pyodide.FS.writeFile("/lib/unfrozen.zip", readFileSync(archive));
pyodide.runPython("import sys, random; sys.path.insert(0, '/lib/unfrozen.zip')");
for (const module of modules) pyodide.pyimport(module).destroy();
pyodide.runPython("random.seed(0)");
writeFileSync(out, pyodide.makeMemorySnapshot());
process.exit(); // an event loop of Python keeps Node alive
