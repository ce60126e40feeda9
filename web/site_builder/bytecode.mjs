// Starts the page's Python in Node, as the page does, and keeps what it compiled:
// `node bytecode.mjs OUR.zip OUT.zip MODULE …`, see bytecode.py.

import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [ours, out, ...modules] = process.argv.slice(2);
process.on("uncaughtException", ({ message }) => {
  process.exitCode = 1;
  console.error(message); // and not the line of Pyodide that it came from: that has a megabyte
});
// Without the columns of each instruction, a sixth of the bytes; the same order of sets each time.
const env = { HOME: "/home/pyodide", PYTHONNODEBUGRANGES: "1", PYTHONHASHSEED: "0" };
const pyodide = await loadPyodide({ env });
pyodide.FS.writeFile("/lib/unfrozen.zip", readFileSync(ours));
pyodide.runPython("import sys; sys.path.insert(0, '/lib/unfrozen.zip')");
for (const module of modules) pyodide.pyimport(module);
pyodide.FS.writeFile("/tmp/bytecode.py", readFileSync(new URL("bytecode.py", import.meta.url)));
pyodide.runPython("sys.path.append('/tmp'); import bytecode; bytecode.write_imported('/tmp/out.zip')");
writeFileSync(out, pyodide.FS.readFile("/tmp/out.zip"));
