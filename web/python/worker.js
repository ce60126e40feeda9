/**
 * The worker in which the reader's Python runs. One interpreter, one run at a time. The planner has
 * a second one of its own (`role: "planner"`), which answers questions and runs no reader code.
 *
 *   page → worker   {type: "boot", role?, signal?, files?, packages?}
 *                                                        start; `signal`: a shared Int32Array[1]
 *                   {type: "run", run, cell, source, guess?}  `guess`: {key, text}, see pycell
 *                   {type: "stop"}                       what is being downloaded for the run
 *                   {type: "ask", call, name, value}     see `unfrozen.ask`; `value` as JSON
 *   worker → page   {type: "progress", ratio}            bytes of the runtime that have arrived
 *                   {type: "starting", files?}           all are here; kept by the page for restarts
 *                   {type: "ready"}
 *                   {type: "failed", reason}             boot failed; the worker is of no more use
 *                   {type: "started", run, cell}
 *                   {type: "fetching", run, cell, name, share}
 *                                                        a download for the run and how far it is,
 *                                                        as text; both empty at its end
 *                   {type: "package", run, cell, name, bytes}
 *                                                        it is here: kept by the page for restarts
 *                   {type: "stdout", run, cell, text}
 *                   {type: "table" | "plots", run, cell, json}
 *                   {type: "done", run, cell, ok, value, error, notice, guessed, seconds}
 *                   {type: "answer", call, json}
 *                   {type: "crashed", reason}            Python itself died during a run
 */

import { INFO, fetchFiles, startPyodide } from "./boot.js";
import { Outbox } from "./outbox.js";
import { fetchPackage, fetchWheel, installPackage, packages } from "./packages.js";
import { seal } from "./seal.js";

const INTERRUPT = 2; // SIGINT, the value Pyodide looks for in its interrupt buffer

const post = self.postMessage.bind(self);
const outbox = new Outbox(post);
/** @type {Int32Array | null} */
let signal = null;
let session = null;
let planner = null;
/** @type {Record<string, ArrayBuffer>} packages that were fetched once */
let kept = {};
let address = {}; // of the run that is on
let downloads = new AbortController(); // of what is fetched for it, ended by Stop
let waitedMs = 0; // for downloads: a run's time is Python's

self.addEventListener("message", ({ data }) => {
  if (data.type === "boot") boot(data);
  if (data.type === "run") run(data);
  if (data.type === "stop") downloads.abort();
  if (data.type === "ask") ask(data);
});

async function boot(order) {
  try {
    signal = order.signal ?? null;
    kept = order.packages ?? {};
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
    JSON.stringify({ info: INFO, packages }),
    (name) => bring(pyodide, name),
    async (url) => {
      const name = url.split("/").at(-1);
      const answer = await fetching(name, (_tell, signal) => fetchWheel(url, signal));
      return answer.reason ?? new Uint8Array(answer.bytes);
    },
    () => downloads.signal.aborted,
  );
}

/** Make a package importable; "" when it is, else the reason why not. */
async function bring(pyodide, name) {
  const known = kept[name];
  const fetchIt = (tell, signal) => fetchPackage(name, tell, signal);
  const { bytes, reason } = known ? { bytes: known } : await fetching(name, fetchIt);
  if (reason) return reason;
  try {
    installPackage(pyodide, name, bytes);
  } catch (error) {
    return error.reason ?? error.message;
  }
  kept[name] = bytes;
  if (!known) post({ type: "package", ...address, name, bytes });
  return "";
}

/** Download something for the run that is on: shown as `name`, ended by Stop. */
async function fetching(name, fetchIt) {
  const start = performance.now();
  const show = (name, share) => post({ type: "fetching", ...address, name, share });
  outbox.flush(); // no timer sends what was printed before
  show(name, "");
  try {
    const tell = (ratio) => show(name, `${Math.floor(ratio * 100)}%`);
    return { bytes: await fetchIt(tell, downloads.signal) };
  } catch (error) {
    return { reason: error.reason ?? error.message };
  } finally {
    waitedMs += performance.now() - start;
    show("", "");
  }
}

/** Send what is waiting; tell whether the page asked for a stop since the last look. */
function takeSignal() {
  outbox.flushIfDue();
  return signal !== null && Atomics.exchange(signal, 0, 0) !== 0;
}

async function run({ run, cell, source, guess }) {
  address = { run, cell };
  outbox.begin(address);
  downloads = new AbortController();
  waitedMs = 0;
  if (signal) Atomics.store(signal, 0, 0);
  post({ type: "started", ...address });
  const start = performance.now();
  try {
    const result = JSON.parse(await session.run(cell, source, guess?.key ?? "", guess?.text ?? ""));
    outbox.flush();
    const seconds = (performance.now() - start - waitedMs) / 1000;
    post({ type: "done", ...address, ...result, seconds });
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
