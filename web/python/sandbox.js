/**
 * Sandboxes the worker once Python runs in it: its global object keeps what Python needs and nothing else.
 *
 * Reader code is Python and reaches JavaScript only through what Pyodide was given (`jsGlobals`). This is the
 * second layer of defence: code that reaches the global object, through `gc` or a callback, finds no network, no
 * storage and no `eval`. Names that are not listed here are removed, also those of future browsers. The third
 * layer is a Content-Security-Policy: our server sends one with the worker, and on a host that sends none the
 * worker inherits the page's (worker-client.js).
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

/** Returns the object that Pyodide uses as `globalThis`: the timers of its event loop, and no more. */
export function jsGlobals() {
  return Object.assign(Object.create(null), timers(self));
}

/** Removes from the global object, and from its prototypes, whatever is not listed. */
export function sandboxWorker() {
  const scope = self; // that name is removed too
  const allowed = new Set([...LANGUAGE, ...PLATFORM, Symbol.toStringTag]);
  const replaced = {
    ...timers(scope),
    performance: clockOnly(scope.performance),
    crypto: randomOnly(scope.crypto),
    console: silentConsole(scope.console), // Pyodide logs there; the page reports why Python ended
  };
  for (let owner = scope; owner && owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
    for (const name of Reflect.ownKeys(owner)) if (!allowed.has(name)) remove(owner, name);
  }
  for (const [name, value] of Object.entries(replaced)) Object.defineProperty(scope, name, { value });
  for (const name of ["compileStreaming", "instantiateStreaming"]) delete WebAssembly[name];
  disableCodeFromText(scope);
}

function remove(owner, name) {
  if (Reflect.deleteProperty(owner, name)) return;
  Reflect.defineProperty(owner, name, { value: undefined });
}

/** Timers that accept functions only: a string would be run as code. */
function timers(from) {
  const bound = TIMERS.map((name) => [name, from[name].bind(from)]);
  const safe = bound.map(([name, act]) => [name, name.startsWith("set") ? functionsOnly(act) : act]);
  return Object.fromEntries(safe);
}

function functionsOnly(act) {
  return (callback, ...rest) => {
    if (typeof callback !== "function") throw new TypeError("a timer takes a function");
    return act(callback, ...rest);
  };
}

function silentConsole(console) {
  return Object.freeze(Object.fromEntries(Object.keys(console).map((name) => [name, () => {}])));
}

function clockOnly(performance) {
  return Object.freeze({ now: performance.now.bind(performance), timeOrigin: performance.timeOrigin });
}

function randomOnly(crypto) {
  return Object.freeze({ getRandomValues: crypto.getRandomValues.bind(crypto) });
}

/** The `constructor` of every kind of function compiles text: it throws from now on. */
function disableCodeFromText(scope) {
  const kinds = [function () {}, async function () {}, function* () {}, async function* () {}];
  for (const kind of kinds) {
    const prototype = Object.getPrototypeOf(kind);
    const refuse = function Function() {
      throw new EvalError("this page runs no code from text");
    };
    Object.defineProperty(refuse, "prototype", { value: prototype });
    Object.defineProperty(prototype, "constructor", { value: refuse });
    if (prototype === Function.prototype) Object.defineProperty(scope, "Function", { value: refuse });
  }
}
