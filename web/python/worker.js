/**
 * The worker in which the reader's Python runs. One interpreter, one run at a time. The planner has
 * a second one of its own (`role: "planner"`), which answers questions and runs no reader code.
 *
 *   page → worker   {type: "boot", role?, signal?, files, bare?}
 *                                                        start; `signal`: a shared Int32Array[1];
 *                                                        `bare`: even without a policy
 *                   {type: "run", run, cell, source, guess?}  `guess`: {key, text}, see pycell
 *                   {type: "brought", want, bytes?, reason, stopped}   what was wanted, or why not
 *                   {type: "pulse"}                      say whether Python still turns
 *                   {type: "ask", call, name, value}     see `unfrozen.ask`; `value` as JSON
 *   worker → page   {type: "bare"}                       no policy guards it: nothing was started
 *                   and what heard.js lists: the page takes nothing else, and nothing out of turn
 *
 * Nothing is fetched here but Pyodide's two scripts: the worker's policy can forbid every request.
 */

import { INFO, startPyodide } from "./boot.js";
import { whyEnded } from "./exit-reasons.js";
import { Outbox } from "./output-buffer.js";
import { installPackage, packages } from "./packages.js";
import { seal } from "./sandbox.js";

const INTERRUPT = 2; // SIGINT, the value Pyodide looks for in its interrupt buffer
const TURNS_MISSED = 3; // pulses that found Python idle, and its event loop no further

const post = self.postMessage.bind(self);
const outbox = new Outbox(post);
const wanted = new Map(); // want → the settle function of its promise
/** @type {Int32Array | null} */
let signal = null;
let session = null;
let planner = null;
let memory = null;
let address = null; // of the run that is on
let wants = 0;
let downloadStopped = false; // by the reader, in this run
let waitedMs = 0; // for downloads: a run's time is Python's
let waitsSince = 0;
let missed = 0;

self.addEventListener("message", ({ data }) => {
  if (data.type === "boot") boot(data);
  if (data.type === "run") run(data);
  if (data.type === "brought") brought(data);
  if (data.type === "pulse") pulse();
  if (data.type === "ask") ask(data);
});

// What breaks after Python has died is told already, and no script of the page's.
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
    else session = openSession(pyodide);
    seal();
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
    (text) => outbox.write(text),
    (name, json) => outbox.publish(name, json),
    takeSignal,
    JSON.stringify({ info: INFO, packages }),
    (name) => bring(pyodide, name),
    async (url) => {
      const { bytes, reason } = await want(url, true);
      return bytes ? new Uint8Array(bytes) : reason;
    },
    () => downloadStopped,
    turned,
  );
  return { run: session.run, pulse: session.pulse };
}

/** Make a package importable; "" when it is, else the reason why not. */
async function bring(pyodide, name) {
  const { bytes, reason } = await want(name, false);
  if (!bytes) return reason;
  try {
    installPackage(pyodide, name, bytes);
    return "";
  } catch (error) {
    post({ type: "damaged", ...address, name });
    return error.reason ?? error.message;
  }
}

/** Have the page fetch a wheel for the run that is on; it shows how far it is, and Stop ends it. */
async function want(name, isAddress) {
  outbox.flush(); // no timer sends what was printed before
  if (wanted.size === 0) waitsSince = performance.now();
  const answer = new Promise((settle) => wanted.set(++wants, settle));
  post({ type: "want", ...address, want: wants, name: String(name), isAddress });
  const found = await answer;
  downloadStopped ||= found.stopped;
  return found;
}

function brought({ want, ...answer }) {
  wanted.get(want)?.(answer);
  if (wanted.delete(want) && wanted.size === 0) waitedMs += performance.now() - waitsSince;
}

/** Send what is waiting; tell whether the page asked for a stop since the last look. */
function takeSignal() {
  outbox.flushIfDue();
  return signal !== null && Atomics.exchange(signal, 0, 0) !== 0;
}

async function run({ run, cell, source, guess }) {
  address = { run, cell };
  outbox.begin(address);
  downloadStopped = false;
  wanted.clear();
  waitedMs = 0;
  missed = 0;
  if (signal) Atomics.store(signal, 0, 0);
  post({ type: "started", ...address });
  const start = performance.now();
  try {
    let said = null;
    const end = (...result) => (said = result);
    await session.run(cell, source, end, guess?.key ?? "", guess?.text ?? "");
    if (!said) throw new Error("a run ended without a result");
    const seconds = (performance.now() - start - waitedMs) / 1000;
    outbox.flush();
    outbox.end();
    const [value, type, message, traceback, line, notice, guessed, changed] = said;
    const error = type === undefined ? null : { type, message, traceback, line: line ?? null };
    const heapBytes = memory?.buffer.byteLength ?? 0;
    post({ type: "done", ...address, value: value ?? null, error, notice, guessed, changed, seconds, heapBytes });
    address = null;
  } catch (error) {
    die(error);
  }
}

/** Python is of no more use, in the middle of a run or between two. The page ends this worker. */
function die(error) {
  if (dead) return;
  dead = true;
  outbox.flush();
  post({ type: "crashed", run: address?.run ?? 0, cell: address?.cell ?? "", reason: whyEnded(error) });
}

/**
 * A message is heard: Python computes nothing now. If its event loop does not come round either, a
 * few times in a row, a run that waits on it would wait for ever.
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

function ask({ call, name, value }) {
  try {
    post({ type: "answer", call, json: planner.answer(name, value) });
  } catch (error) {
    die(error);
  }
}
