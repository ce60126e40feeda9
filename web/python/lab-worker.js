/**
 * The worker in which the page fine-tunes the demo model: an interpreter of its own, with numpy, the
 * model and its rows, and no reader code. Nothing of it is fetched before the page asks.
 *
 *   page → worker   {type: "boot", files?, numpy?}      start, with what the page has already
 *                   {type: "start", run, choices}       a fine-tune, as JSON
 *                   {type: "stop"}                      after the piece of work that is on
 *                   {type: "ask", call, prompt}         both models, also between two steps
 *   worker → page   {type: "progress", what, share}     what is being fetched, as text ("numpy", "40%")
 *                   {type: "kept", files?, numpy?}      here now, for the next worker
 *                   {type: "starting"}                  all are here
 *                   {type: "ready"}
 *                   {type: "failed", reason}            the worker is of no more use
 *                   {type: "began", run, problem, title, command}
 *                   {type: "events", run, lines}        lines of a log
 *                   {type: "ended", run}
 *                   {type: "answer", call, json}
 *                   {type: "crashed", reason}           Python itself died
 *
 * Between two pieces of work, a few tenths of a second at most, messages are heard.
 */

/* global DEMO -- written in by web/site_builder/assets.py: name → {sha256, bytes} of the demo's files */

import { startPyodide } from "./boot.js";
import { fetchBytes, fetchFiles } from "./runtime-files.js";
import { BootError } from "./exit-reasons.js";
import { installPackage } from "./packages.js";
import { seal } from "./sandbox.js";
import { fetchPackage } from "./package-fetcher.js";

const SEND_MS = 50;

// Taken before seal() takes them away.
const post = self.postMessage.bind(self);
const { MessageChannel } = self;
const page = new URL("..", self.location.href);

let lab = null;
let session = null;
let memory = null;

self.addEventListener("message", ({ data }) => {
  if (data.type === "boot") boot(data);
  if (data.type === "start") start(data);
  if (data.type === "stop") session.stop();
  if (data.type === "ask") answer(data);
});

async function boot({ files, numpy }) {
  try {
    const runtime = files ?? (await fetchFiles((ratio) => tell("Python", ratio)));
    if (!files) post({ type: "kept", files: runtime });
    const wheel = numpy ?? (await fetchPackage("numpy", (ratio) => tell("numpy", ratio)));
    if (!numpy) post({ type: "kept", numpy: wheel });
    const demo = await fetchDemo();
    const kernel = await fetchKernel();
    post({ type: "starting" });
    const pyodide = await startPyodide(runtime, (found) => (memory = found));
    installPackage(pyodide, "numpy", wheel);
    lab = pyodide.pyimport("pycell.lab");
    for (const [name, bytes] of Object.entries(demo)) takeFile(name, bytes);
    session = lab.open_lab(await instantiate(kernel));
    seal();
    post({ type: "ready" });
  } catch (error) {
    post({ type: "failed", reason: error.reason ?? `Python could not be started (${error.message}).` });
  }
}

function tell(what, ratio) {
  post({ type: "progress", what, share: `${Math.floor(ratio * 100)}%` });
}

async function fetchDemo() {
  const total = Object.values(DEMO).reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const onBytes = (bytes) => tell("the model", Math.min(1, (loaded += bytes) / total));
  const one = async (name) => [name, await fetchBytes(new URL(`demo/${name}`, page), onBytes, { what: "The model" })];
  return Object.fromEntries(await Promise.all(Object.keys(DEMO).map(one)));
}

function takeFile(name, bytes) {
  const reason = lab.take(name, new Uint8Array(bytes), DEMO[name].sha256);
  if (reason) throw new BootError(reason);
}

/** The kernel's file; null where it cannot be had: numpy's own products are right, and slow. */
async function fetchKernel() {
  try {
    return await fetchBytes(new URL("python/product.wasm", page), () => {}, { what: "The kernel" });
  } catch {
    return null;
  }
}

/** The products of WebAssembly; undefined, which is Python's None (null is not), without them. */
async function instantiate(kernel) {
  try {
    const { instance } = await WebAssembly.instantiate(kernel, { env: { memory } });
    return instance.exports.product;
  } catch {
    return undefined; // no file, or no vector instructions here
  }
}

async function start({ run, choices }) {
  try {
    const begun = JSON.parse(session.start(choices, run, lab.versions()));
    post({ type: "began", run, ...begun });
    if (!begun.problem) await work(run);
    post({ type: "ended", run });
  } catch (error) {
    post({ type: "crashed", reason: reasonOf(error) });
  }
}

/** The last line of a traceback, or what a reader can do where memory ran out. */
function reasonOf(error) {
  const last = String(error.message ?? error).trim().split("\n").at(-1);
  if (!/MemoryError|out of memory|allocation failed/i.test(last)) return last;
  return "the memory that this browser gives a page ran out; close other tabs";
}

/** All of a run, piece by piece; its events leave together every SEND_MS. */
async function work(run) {
  let lines = "";
  let sent = performance.now();
  const send = () => {
    if (lines) post({ type: "events", run, lines });
    lines = "";
    sent = performance.now();
  };
  for (let piece = session.work(); piece !== undefined; piece = session.work()) {
    lines += piece;
    if (performance.now() - sent >= SEND_MS) send();
    await breathe();
  }
  send();
}

function answer({ call, prompt }) {
  try {
    post({ type: "answer", call, json: session.ask(prompt) });
  } catch (error) {
    post({ type: "crashed", reason: reasonOf(error) });
  }
}

/** Lets messages in. A message is not slowed down in a hidden tab, as timers are. */
function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (port1.close(), resolve());
    port2.postMessage(null);
  });
}
