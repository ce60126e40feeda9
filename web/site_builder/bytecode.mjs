// Starts the page's Python in Node, as the page does, and saves the bytecode of what it imported:
// `node bytecode.mjs MODULES.zip OUT.zip MODULE …`, see bytecode.py.

import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [archive, out, ...modules] = process.argv.slice(2);
process.on("uncaughtException", ({ message }) => {
  process.exitCode = 1;
  console.error(message); // without the line of Pyodide that threw: it is a megabyte long
});
// Without column positions bytecode is a sixth smaller; a fixed hash seed keeps the order of sets.
const env = { HOME: "/home/pyodide", PYTHONNODEBUGRANGES: "1", PYTHONHASHSEED: "0" };
const pyodide = await loadPyodide({ env });
pyodide.FS.writeFile("/lib/unfrozen.zip", readFileSync(archive));
pyodide.runPython("import sys; sys.path.insert(0, '/lib/unfrozen.zip')");
for (const module of modules) pyodide.pyimport(module);
pyodide.FS.writeFile("/tmp/bytecode.py", readFileSync(new URL("bytecode.py", import.meta.url)));
pyodide.runPython("sys.path.append('/tmp'); import bytecode; bytecode.write_bytecode('/tmp/out.zip')");
writeFileSync(out, pyodide.FS.readFile("/tmp/out.zip"));
