// Multiplies with the lab's kernel, takes exponentials or moves weights, `node matmul-kernel.mjs FILE.wasm`: one JSON line in, one
// out, floats as their bits. What lies around a result and behind the panel is filled, and given back.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const CALL = 1024;
const START = 4096;
const memory = new WebAssembly.Memory({ initial: 256 });
const wasm = readFileSync(process.argv[2]);
const { instance } = await WebAssembly.instantiate(wasm, { env: { memory } });

/** Places of consecutive areas of so many floats, 16 bytes of air between them. */
function placed(sizes) {
  let at = START;
  return sizes.map((size) => [at, (at += 4 * size + 16)][0]);
}

function multiply({ a, b, c, sizes, fill }) {
  const k = sizes.at(-1);
  const words = new Uint32Array(memory.buffer);
  words.fill(fill);
  const panelFloats = 8 * k + 32;
  const [atA, atB, atC, panel, end] = placed([a.bits.length, b.bits.length, c.floats, panelFloats, 0]);
  words.set(a.bits, atA / 4);
  words.set(b.bits, atB / 4);
  const call = [atA + a.at, ...a.strides, atB + b.at, ...b.strides, atC + c.at, ...c.strides, ...sizes, panel];
  new Int32Array(memory.buffer).set(call, CALL / 4);
  instance.exports.multiply(CALL);
  const beyond = [...words.subarray(end / 4 - 4, end / 4 + 64)];
  return { bits: [...words.subarray(atC / 4, atC / 4 + c.floats)], beyond };
}

function adamw({ arrays, floats, fill }) {
  const words = new Uint32Array(memory.buffer);
  words.fill(fill);
  const n = arrays[0].length;
  const places = placed([...arrays.map(() => n), floats.length, 0]);
  [...arrays, floats].forEach((bits, i) => words.set(bits, places[i] / 4));
  words.set([...places.slice(0, 4), n, places[4]], CALL / 4);
  instance.exports.adamw(CALL);
  const at = (place, count) => [...words.subarray(place / 4, place / 4 + count)];
  return { bits: places.slice(0, 4).map((place) => at(place, n)), beyond: places.slice(1).flatMap((place) => at(place - 16, 4)) };
}

function exp({ numbers, table, fill }) {
  const words = new Uint32Array(memory.buffer);
  words.fill(fill);
  const [at, atTable, end] = placed([numbers.length, table.length, 0]);
  words.set(numbers, at / 4);
  words.set(table, atTable / 4);
  words.set([at, numbers.length, atTable], CALL / 4);
  instance.exports.exp(CALL);
  const beyond = [...words.subarray(atTable / 4 - 4, atTable / 4), ...words.subarray(end / 4 - 4, end / 4)];
  return { bits: [...words.subarray(at / 4, at / 4 + numbers.length)], beyond };
}

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(call.arrays ? adamw(call) : call.numbers ? exp(call) : multiply(call))}\n`);
}
