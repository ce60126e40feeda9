/**
 * The worker in which Python runs, in one of three roles; one interpreter, one piece of work at a time.
 *
 *   reader    runs the reader's cells
 *   planner   answers questions, and runs no reader code
 *   lab       fine-tunes the demo model, and runs no reader code (lab-session.js)
 *
 *   page → worker   {type: "boot", role, signal?, files, bare, numpy?, demo?, kernel?}
 *                                                        start; `signal`: a shared Int32Array[1];
 *                                                        `bare`: even without a policy
 *                   {type: "run", run, cell, source, guess?}  `guess`: {key, text}, see pycell
 *                   {type: "fetched", want, bytes?, reason, stopped}   a wheel, or why there is none
 *                   {type: "pulse"}                      report whether Python's event loop still turns
 *                   {type: "ask", call, name, value}     see `unfrozen.ask`; `value` as JSON
 *                   {type: "ask", call, prompt}          in the lab: both models, also between two steps
 *                   {type: "start", run, choices}        in the lab: a fine-tune, `choices` as JSON
 *                   {type: "stop"}                       in the lab: after the piece of work in progress
 *   worker → page   {type: "bare"}                       no policy guards it: nothing was started
 *                   and what messages.js lists: the page accepts nothing else, and nothing out of turn
 *
 * Nothing is fetched here but Pyodide's two scripts: the worker's policy can forbid every request.
 */

import { INFO, startPyodide } from "./boot.js";
import { explainExit } from "./exit-reasons.js";
import { openLab } from "./lab-session.js";
import { OutputBuffer } from "./output-buffer.js";
import { installPackage, packages } from "./packages.js";
import { sealWorker } from "./sandbox.js";

const INTERRUPT = 2; // SIGINT, the value Pyodide looks for in its interrupt buffer
const TURNS_MISSED = 3; // pulses that found Python idle, and its event loop no further

const post = self.postMessage.bind(self);
const output = new OutputBuffer(post);
const wanted = new Map(); // want → the settle function of its promise
/** @type {Int32Array | null} */
let signal = null;
let session = null;
let planner = null;
let lab = null;
let memory = null;
let address = null; // of the run in progress
let wants = 0;
let downloadStopped = false; // by the reader, in this run
let waitedMs = 0; // for downloads: a run's time is Python's
let waitsSince = 0;
let missed = 0;

self.addEventListener("message", ({ data }) => {
  if (data.type === "boot") boot(data);
  if (data.type === "run") run(data);
  if (data.type === "fetched") takeWheel(data);
  if (data.type === "pulse") pulse();
  if (data.type === "ask") ask(data);
  if (data.type === "start") void lab.start(data);
  if (data.type === "stop") lab.stop();
});

// What breaks after Python has died was reported already, and is no error of the page's scripts.
let dead = false;
for (const kind of ["error", "unhandledrejection"]) {
  self.addEventListener(kind, (event) => dead && event.preventDefault());
}

async function boot(order) {
  if (!order.bare && makesCodeOfText()) return post({ type: "bare" });
  try {
    signal = order.signal ?? null;
    const pyodide = await startPyodide(order.files, (found) => (memory = found));
    pyodide._api.on_fatal = die;
    if (order.role === "planner") planner = pyodide.pyimport("unfrozen.ask");
    else if (order.role === "lab") lab = await openLab(pyodide, order, { memory, post, die });
    else session = openSession(pyodide);
    sealWorker();
    post({ type: "ready" });
  } catch (error) {
    post({ type: "failed", reason: error.reason ?? `Python could not start: ${error.message}` });
  }
}

/** Whether no policy guards this worker: any that does forbids this. */
function makesCodeOfText() {
  try {
    return Boolean(new Function("return true")());
  } catch {
    return false;
  }
}

function openSession(pyodide) {
  // Pyodide reads element 0 every few dozen steps of Python: a moment to send what is waiting.
  pyodide.setInterruptBuffer({
    get 0() {
      return takeSignal() ? INTERRUPT : 0;
    },
    set 0(_value) {},
  });
  const { open_session } = pyodide.pyimport("pycell.browser");
  const session = open_session(
    (text) => output.write(text),
    (name, json) => output.publish(name, json),
    takeSignal,
    JSON.stringify({ info: INFO, packages }),
    (name) => addPackage(pyodide, name),
    async (url) => {
      const { bytes, reason } = await requestWheel(url, true);
      return bytes ? new Uint8Array(bytes) : reason;
    },
    () => downloadStopped,
    turned,
  );
  return { run: session.run, pulse: session.pulse };
}

/** Makes a package importable; returns "" when it is, else the reason why not. */
async function addPackage(pyodide, name) {
  const { bytes, reason } = await requestWheel(name, false);
  if (!bytes) return reason;
  try {
    installPackage(pyodide, name, bytes);
    return "";
  } catch (error) {
    post({ type: "damaged", ...address, name });
    return error.reason ?? error.message;
  }
}

/** Has the page fetch a wheel for the run in progress; the page shows its progress, and Stop ends it. */
async function requestWheel(name, isAddress) {
  output.flush(); // no timer sends what was printed before
  if (wanted.size === 0) waitsSince = performance.now();
  const answer = new Promise((settle) => wanted.set(++wants, settle));
  post({ type: "want", ...address, want: wants, name: String(name), isAddress });
  const found = await answer;
  downloadStopped ||= found.stopped;
  return found;
}

function takeWheel({ want, ...answer }) {
  wanted.get(want)?.(answer);
  if (wanted.delete(want) && wanted.size === 0) waitedMs += performance.now() - waitsSince;
}

/** Sends what is waiting; returns whether the page asked for a stop since the last look. */
function takeSignal() {
  output.flushIfDue();
  return signal !== null && Atomics.exchange(signal, 0, 0) !== 0;
}

async function run({ run, cell, source, guess }) {
  address = { run, cell };
  output.begin(address);
  downloadStopped = false;
  wanted.clear();
  waitedMs = 0;
  missed = 0;
  if (signal) Atomics.store(signal, 0, 0);
  post({ type: "started", ...address });
  const start = performance.now();
  try {
    let result = null;
    const end = (...given) => (result = given);
    await session.run(cell, source, end, guess?.key ?? "", guess?.text ?? "");
    if (!result) throw new Error("a run ended without a result");
    const seconds = (performance.now() - start - waitedMs) / 1000;
    output.flush();
    output.end();
    const [value, type, message, traceback, line, notice, guessed, changed] = result;
    const error = type === undefined ? null : { type, message, traceback, line: line ?? null };
    const heapBytes = memory?.buffer.byteLength ?? 0;
    post({ type: "done", ...address, value: value ?? null, error, notice, guessed, changed, seconds, heapBytes });
    address = null;
  } catch (error) {
    die(error);
  }
}

/** Python can do no more, in the middle of a run or between two. The page ends this worker. */
function die(error) {
  if (dead) return;
  dead = true;
  output.flush();
  post({ type: "crashed", run: address?.run ?? 0, cell: address?.cell ?? "", reason: explainExit(error) });
}

/**
 * A message arrived, so Python computes nothing now. If its event loop does not turn either, a few times in
 * a row, a run that waits on it would wait for ever.
 */
function pulse() {
  try {
    if (missed >= TURNS_MISSED) throw new Error("its event loop no longer turns");
    missed += 1;
    session.pulse();
    post({ type: "pulse", on: address?.run ?? 0 });
  } catch (error) {
    die(error);
  }
}

function turned() {
  missed = 0;
}

function ask({ call, name, value, prompt }) {
  try {
    post({ type: "answer", call, json: lab ? lab.ask(prompt) : planner.answer(name, value) });
  } catch (error) {
    die(error);
  }
}
