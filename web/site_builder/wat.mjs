// Assembles a WebAssembly text file: `node wat.mjs IN.wat OUT.wasm`. Its errors name line and column.

import { readFileSync, writeFileSync } from "node:fs";
import makeWabt from "wabt";

const [from, to] = process.argv.slice(2);
const wabt = await makeWabt();
const assembled = wabt.parseWat(from, readFileSync(from, "utf8"), { simd: true });
assembled.validate();
writeFileSync(to, assembled.toBinary({}).buffer);
