/**
 * Leaves on the worker's global object what Python needs and nothing else, once Python runs in it.
 *
 * Reader code is Python and reaches JavaScript only through what Pyodide was given (`jsGlobals`).
 * This is the second wall: code that climbs to the global object, by way of `gc` or of a callback,
 * finds nothing to talk to, nothing to keep anything in, and nothing that makes code of text.
 * What is not named here goes, also what a browser of tomorrow will have. The third wall is a policy:
 * our server sends one with the worker, and on a host that sends none it takes the page's (worker-client.js).
 */

const LANGUAGE = [
  "globalThis", "Infinity", "NaN", "undefined", "parseInt", "parseFloat", "isNaN", "isFinite",
  "encodeURIComponent", "decodeURIComponent", "encodeURI", "decodeURI", "escape", "unescape",
  "Object", "Symbol", "Boolean", "Number", "BigInt", "String", "Math", "Date", "RegExp", "JSON",
  "Array", "Map", "Set", "WeakMap", "WeakSet", "WeakRef", "FinalizationRegistry", "Promise", "Proxy",
  "Reflect", "Iterator", "Function", "Atomics", "ArrayBuffer", "SharedArrayBuffer", "DataView", "Int8Array",
  "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array",
  "Float16Array", "Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array",
  "Error", "AggregateError", "EvalError", "RangeError", "ReferenceError", "SuppressedError",
  "SyntaxError", "TypeError", "URIError", "InternalError", "WebAssembly",
];
const PLATFORM = ["TextDecoder", "TextEncoder", "queueMicrotask"];
const TIMERS = ["setTimeout", "clearTimeout", "setInterval", "clearInterval"];

/** The object Pyodide takes for `globalThis`: timers, which its event loop needs, and no more. */
export function jsGlobals() {
  return Object.assign(Object.create(null), timers(self));
}

/** Take away from the global object, and from what it inherits, whatever is not in the list. */
export function sealWorker() {
  const scope = self; // that name goes too
  const stay = new Set([...LANGUAGE, ...PLATFORM, Symbol.toStringTag]);
  const ours = {
    ...timers(scope),
    performance: clock(scope.performance),
    crypto: chance(scope.crypto),
    console: silence(scope.console), // Pyodide's: why Python has ended is told to the reader
  };
  for (let owner = scope; owner && owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
    for (const name of Reflect.ownKeys(owner)) if (!stay.has(name)) remove(owner, name);
  }
  for (const [name, value] of Object.entries(ours)) Object.defineProperty(scope, name, { value });
  for (const name of ["compileStreaming", "instantiateStreaming"]) delete WebAssembly[name];
  closeCompilers(scope);
}

function remove(owner, name) {
  if (Reflect.deleteProperty(owner, name)) return;
  Reflect.defineProperty(owner, name, { value: undefined });
}

/** Timers that take functions only: of a text they would make code. */
function timers(from) {
  const bound = TIMERS.map((name) => [name, from[name].bind(from)]);
  const safe = bound.map(([name, act]) => [name, name.startsWith("set") ? ofFunction(act) : act]);
  return Object.fromEntries(safe);
}

function ofFunction(act) {
  return (callback, ...rest) => {
    if (typeof callback !== "function") throw new TypeError("a timer takes a function");
    return act(callback, ...rest);
  };
}

function silence(console) {
  return Object.freeze(Object.fromEntries(Object.keys(console).map((name) => [name, () => {}])));
}

function clock(performance) {
  return Object.freeze({ now: performance.now.bind(performance), timeOrigin: performance.timeOrigin });
}

function chance(crypto) {
  return Object.freeze({ getRandomValues: crypto.getRandomValues.bind(crypto) });
}

/** Every function names the maker of its kind as `constructor`: that one refuses from now on. */
function closeCompilers(scope) {
  const kinds = [function () {}, async function () {}, function* () {}, async function* () {}];
  for (const kind of kinds) {
    const prototype = Object.getPrototypeOf(kind);
    const refuse = function Function() {
      throw new EvalError("this page makes no code of text");
    };
    Object.defineProperty(refuse, "prototype", { value: prototype });
    Object.defineProperty(prototype, "constructor", { value: refuse });
    if (prototype === Function.prototype) Object.defineProperty(scope, "Function", { value: refuse });
  }
}
