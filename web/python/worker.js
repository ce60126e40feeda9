/**
 * The worker in which the reader's Python runs. One interpreter, one run at a time. The planner has
 * a second one of its own (`role: "planner"`), which answers questions and runs no reader code.
 *
 *   page → worker   {type: "boot", role?, signal?, files?} start; `signal`: a shared Int32Array[1]
 *                   {type: "run", run, cell, source}
 *                   {type: "ask", call, name, value}     `name` of a question, `value` as JSON
 *   worker → page   {type: "progress", ratio}            bytes of the runtime that have arrived
 *                   {type: "starting", files?}           all are here; kept by the page for restarts
 *                   {type: "ready"}
 *                   {type: "failed", reason}             boot failed; the worker is of no more use
 *                   {type: "started", run, cell}
 *                   {type: "stdout", run, cell, text}
 *                   {type: "table" | "plots", run, cell, json}
 *                   {type: "done", run, cell, ok, value, error, notice, seconds}
 *                   {type: "answer", call, json}
 *                   {type: "crashed", reason}            Python itself died during a run
 */

import { fetchFiles, startPyodide } from "./boot.js";
import { Outbox } from "./outbox.js";
import { seal } from "./seal.js";

const INTERRUPT = 2; // SIGINT, the value Pyodide looks for in its interrupt buffer

const post = self.postMessage.bind(self);
const outbox = new Outbox(post);
/** @type {Int32Array | null} */
let signal = null;
let session = null;
let planner = null;

self.addEventListener("message", ({ data }) => {
  if (data.type === "boot") boot(data);
  if (data.type === "run") run(data);
  if (data.type === "ask") ask(data);
});

async function boot(order) {
  try {
    signal = order.signal ?? null;
    const files = order.files ?? (await fetchFiles((ratio) => post({ type: "progress", ratio })));
    post({ type: "starting", files: order.files ? undefined : files });
    const pyodide = await startPyodide(files);
    if (order.role === "planner") planner = pyodide.pyimport("unfrozen.ask");
    else session = openSession(pyodide);
    seal();
    post({ type: "ready" });
  } catch (error) {
    post({ type: "failed", reason: error.reason ?? `Python could not start: ${error.message}` });
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
  return open_session(
    (text) => outbox.write(text),
    (name, json) => outbox.publish(name, json),
    takeSignal,
  );
}

/** Send what is waiting; tell whether the page asked for a stop since the last look. */
function takeSignal() {
  outbox.flushIfDue();
  return signal !== null && Atomics.exchange(signal, 0, 0) !== 0;
}

async function run({ run, cell, source }) {
  const address = { run, cell };
  outbox.begin(address);
  if (signal) Atomics.store(signal, 0, 0);
  post({ type: "started", ...address });
  const start = performance.now();
  try {
    const result = JSON.parse(await session.run(cell, source));
    outbox.flush();
    post({ type: "done", ...address, ...result, seconds: (performance.now() - start) / 1000 });
  } catch (error) {
    outbox.flush();
    post({ type: "crashed", ...address, reason: String(error.message ?? error) });
  }
}

function ask({ call, name, value }) {
  try {
    post({ type: "answer", call, json: planner.answer(name, value) });
  } catch (error) {
    post({ type: "crashed", reason: String(error.message ?? error) });
  }
}
