/**
 * The worker in which Python runs, in one of three roles; one interpreter, one piece of work at a time.
 *
 *   reader    runs the reader's cells
 *   planner   answers questions, and runs no reader code
 *   lab       fine-tunes the demo model, and runs no reader code (lab.js)
 *
 *   page → worker   {type: "prepare", unguarded}         load the scripts; `unguarded`: even without a policy
 *                   {type: "restore", snapshot}          the memory to start from, where one is known early
 *                   {type: "boot", role, signal?, keeps?, files, numpy?, demo?, kernel?}
 *                                                        start; `signal`: a shared Int32Array[1]; `keeps`: see boot.js
 *                   {type: "run", run, cell, source, guess?}  `guess`: {key, text}, see pycell
 *                   {type: "fetched", id, bytes?, reason, stopped}   a wheel, or why there is none
 *                   {type: "ping"}                       answer if Python's event loop runs
 *                   {type: "ask", call, name, value}     see `unfrozen.ask`; `value` as JSON
 *                   {type: "ask", call, prompt?, alpha}         in the lab: both models continue `prompt`, also
 *                                                        between two steps; without one, scores of their blend
 *                   {type: "start", run, choices}        in the lab: a fine-tune, `choices` as JSON
 *                   {type: "stop"}                       in the lab: after the current slice of work
 *   worker → page   {type: "unguarded"}                  no policy guards it: nothing was loaded
 *                   {type: "prepared", version}          it may boot, for a page of this version
 *                   and what messages.js lists: the page accepts nothing else, and nothing out of turn
 *
 * Only Pyodide's two scripts are fetched here: the worker's policy can forbid every other request.
 */

/* global PYTHON_HASH -- written in by web/site_builder/assets.py: of all that starts Python */

import { installPackage, PACKAGE_NAMES, prepareMemory, prepareScripts, startPyodide } from "./boot.js";
import { openLab } from "./lab.js";
import { explainCrash, RUN_LOG } from "./messages.js";
import { sandboxWorker } from "./sandbox.js";

const INTERRUPT = 2; // SIGINT, the value that Pyodide looks for in its interrupt buffer
const MISSED_LIMIT = 3; // pings that found Python idle and its event loop stopped

const BATCH_MS = 50;
const LINES_AT_ONCE = 4;

/**
 * Batches what a running cell sends to the page: at most every 50 ms, and of tables and plots only the newest. A
 * cell that prints forever therefore costs the page twenty messages a second until its output is full, then none.
 *
 * Python keeps the worker busy, so no timer can run here. A batch is sent by the first lines after a pause, by the
 * first write after 50 ms, and by Pyodide's periodic look at the interrupt buffer, which calls `flushIfDue`, so
 * that the last line before a long computation is not delayed. Between two runs nothing is accepted.
 */
class OutputBuffer {
  /** @param {(message: object) => void} post sends one message to the page */
  constructor(post) {
    this.post = post;
    this.end();
  }

  /** Begins a run: every message of it carries `address` ({run, cell}). */
  begin(address) {
    this.end();
    this.address = address;
  }

  /** Ends the run: later output is dropped. */
  end() {
    this.address = null;
    this.text = "";
    this.json = new Map();
    this.sentAt = -Infinity;
    this.linesSent = 0;
  }

  /** Adds printed text. @param {string} text */
  write(text) {
    if (!this.address || typeof text !== "string") return;
    this.text += text;
    const now = performance.now();
    if (now - this.sentAt >= BATCH_MS) {
      this.linesSent = 0;
      this.flush(now);
    } else if (text.endsWith("\n") && this.linesSent < LINES_AT_ONCE) {
      this.linesSent += 1;
      this.flush(this.sentAt);
    }
  }

  /** Adds the JSON of a table or of plots; it replaces an older one that was not sent yet. */
  publish(name, json) {
    if (!this.address || typeof json !== "string") return;
    this.json.set(name === "py_table_data" ? "table" : "plots", json);
    this.flushIfDue();
  }

  /** Sends what is buffered if the last batch is old enough. */
  flushIfDue() {
    if (this.text === "" && this.json.size === 0) return;
    const now = performance.now();
    if (now - this.sentAt >= BATCH_MS) this.flush(now);
  }

  /** Sends all that is buffered. */
  flush(now = performance.now()) {
    if (!this.address) return;
    this.sentAt = now;
    if (this.text !== "") this.post({ type: "stdout", ...this.address, text: this.text });
    for (const [type, json] of this.json) this.post({ type, ...this.address, json });
    this.text = "";
    this.json.clear();
  }
}

const post = self.postMessage.bind(self);
const output = new OutputBuffer(post);
const fetches = new Map(); // id → the resolve function of its promise
/** @type {Int32Array | null} */
let signal = null;
let session = null;
let planner = null;
let lab = null;
let memory = null;
let address = null; // of the run in progress
let lastFetch = 0;
let downloadStopped = false; // by the reader, in this run
let waitedMs = 0; // for downloads, which a run's time leaves out
let waitsSince = 0;
let missedPings = 0;

self.addEventListener("message", ({ data }) => {
  if (data.type === "prepare") prepare(data.unguarded);
  if (data.type === "restore") prepareMemory(data.snapshot);
  if (data.type === "boot") boot(data);
  if (data.type === "run") run(data);
  if (data.type === "fetched") resolveFetch(data);
  if (data.type === "ping") ping();
  if (data.type === "ask") ask(data);
  if (data.type === "start") void lab.start(data);
  if (data.type === "stop") lab.stop();
});

// Errors that follow a crash were reported with it, and are no errors of the page's scripts.
let hasCrashed = false;
for (const kind of ["error", "unhandledrejection"]) {
  self.addEventListener(kind, (event) => hasCrashed && event.preventDefault());
}

/** Loads what needs no files of the page, while these are on their way. */
function prepare(unguarded) {
  if (!unguarded && canRunText()) return post({ type: "unguarded" });
  prepareScripts();
  post({ type: "prepared", version: PYTHON_HASH });
}

async function boot(message) {
  try {
    signal = message.signal ?? null;
    const pyodide = await startPyodide(message.files, {
      module: message.role === "planner" ? "unfrozen.ask" : "pycell.browser",
      keeps: message.keeps,
      onMemory: (found) => (memory = found),
      onSnapshot: (snapshot) => post({ type: "snapshot", snapshot }),
    });
    // A cell that has found these objects cannot replace their hooks.
    Object.defineProperty(pyodide._api, "on_fatal", { value: reportCrash });
    const onAbort = (what) => reportCrash(new WebAssembly.RuntimeError(`Aborted(${what})`));
    Object.defineProperty(pyodide._module, "onAbort", { value: onAbort });
    if (message.role === "planner") planner = pyodide.pyimport("unfrozen.ask");
    else if (message.role === "lab") lab = await openLab(pyodide, message, { memory, post, reportCrash });
    else session = openSession(pyodide);
    sandboxWorker();
    post({ type: "ready" });
  } catch (error) {
    post({ type: "failed", reason: error.reason ?? `Python could not start: ${error.message}` });
  }
}

/** Whether text can be run as code: every policy of ours forbids it. */
function canRunText() {
  try {
    return Boolean(new Function("return true")());
  } catch {
    return false;
  }
}

function openSession(pyodide) {
  // Pyodide reads element 0 every few dozen steps of Python: an opportunity to send a batch.
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
    JSON.stringify(PACKAGE_NAMES),
    (name) => (name === RUN_LOG ? putRunLog(pyodide.FS) : addPackage(pyodide, name)),
    () => downloadStopped,
    () => (missedPings = 0),
  );
  return { run: session.run, ping: session.ping };
}

/** Writes the log of the run that the page shows into the working folder; resolves to "", or to why it is not there. */
async function putRunLog(FS) {
  const { bytes, reason } = await fetchWheel(RUN_LOG);
  try {
    if (FS.analyzePath(RUN_LOG).exists) FS.unlink(RUN_LOG); // that of another run
    if (bytes) FS.writeFile(RUN_LOG, new Uint8Array(bytes));
    return reason;
  } catch (error) {
    return `${RUN_LOG} could not be written (${error.message}).`;
  }
}

/** Makes a package importable; resolves to "", or to the reason why it is not. */
async function addPackage(pyodide, name) {
  const { bytes, reason } = await fetchWheel(name);
  if (!bytes) return reason;
  try {
    installPackage(pyodide, name, bytes);
    return "";
  } catch (error) {
    post({ type: "damaged", ...address, name });
    return error.reason ?? error.message;
  }
}

/** Has the page fetch a wheel for the run in progress; the page shows its progress, and Stop aborts it. */
async function fetchWheel(name) {
  output.flush(); // no timer sends what was printed before
  if (fetches.size === 0) waitsSince = performance.now();
  const answer = new Promise((resolve) => fetches.set(++lastFetch, resolve));
  post({ type: "fetch", ...address, id: lastFetch, name: String(name) });
  const found = await answer;
  downloadStopped ||= found.stopped;
  return found;
}

function resolveFetch({ id, ...answer }) {
  fetches.get(id)?.(answer);
  if (fetches.delete(id) && fetches.size === 0) waitedMs += performance.now() - waitsSince;
}

/** Sends a batch if one is due; returns whether the page has asked for a stop since the last call. */
function takeSignal() {
  output.flushIfDue();
  return signal !== null && Atomics.exchange(signal, 0, 0) !== 0;
}

async function run({ run, cell, source, guess }) {
  address = { run, cell };
  output.begin(address);
  downloadStopped = false;
  fetches.clear();
  waitedMs = 0;
  missedPings = 0;
  if (signal) Atomics.store(signal, 0, 0);
  post({ type: "started", ...address });
  const start = performance.now();
  try {
    let result = null;
    const end = (...parts) => (result = parts);
    await session.run(cell, source, end, guess?.key ?? "", guess?.text ?? "");
    if (!result) throw new Error("a run ended without a result");
    const seconds = (performance.now() - start - waitedMs) / 1000;
    output.flush();
    output.end();
    const [value, type, message, traceback, line, notice, guessed] = result;
    const error = type === undefined ? null : { type, message, traceback, line: line ?? null };
    const heapBytes = memory?.buffer.byteLength ?? 0;
    post({ type: "done", ...address, value: value ?? null, error, notice, guessed, seconds, heapBytes });
    address = null;
  } catch (error) {
    reportCrash(error);
  }
}

/** Reports, once, that Python cannot continue; the page terminates this worker. */
function reportCrash(error) {
  if (hasCrashed) return;
  hasCrashed = true;
  output.flush();
  post({ type: "crashed", run: address?.run ?? 0, cell: address?.cell ?? "", reason: explainCrash(error) });
}

/**
 * Answers a ping. A message arrived, so Python computes nothing now; if its event loop has stopped too, for several
 * pings, a run that waits on it would wait for ever.
 */
function ping() {
  try {
    if (missedPings >= MISSED_LIMIT) throw new Error("its event loop has stopped");
    missedPings += 1;
    session.ping();
    post({ type: "pong", running: address?.run ?? 0 });
  } catch (error) {
    reportCrash(error);
  }
}

function ask({ call, name, value, ...question }) {
  try {
    post({ type: "answer", call, json: lab ? lab.ask(question) : planner.answer(name, value) });
  } catch (error) {
    reportCrash(error);
  }
}
