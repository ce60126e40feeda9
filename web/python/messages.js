/**
 * The messages that a Python worker may send, and when. Reader code runs in one of the workers, so the page trusts
 * none: a message of another form, too long, out of turn or of another run is refused. Below are the reasons that it gives
 * for `failed` and `crashed`, each a sentence for the reader.
 *
 *   boot   {type: "snapshot", snapshot}          the memory of an interpreter in which nothing has run
 *          {type: "ready"}
 *          {type: "failed", reason}              the worker can do no more
 *   sent   {type: "started", run, cell}          the first of a run, once
 *   run    {type: "fetch", run, cell, id, name}    asks the page for a wheel, or for a file of the job
 *          {type: "damaged", run, cell, name}    what was fetched is not that package's wheel
 *          {type: "stdout", run, cell, text}
 *          {type: "table" | "plots", run, cell, json}
 *          {type: "done", run, cell, value, error, notice, guessed, seconds, heapBytes}
 *   ask    {type: "answer", call, json}
 *   train  {type: "began", run, problem, title, command}   in the lab
 *          {type: "events", run, lines}          lines of the run's log
 *          {type: "ended", run}
 *   always {type: "crashed", run, cell, reason}  Python itself crashed; run 0: between two runs
 *          {type: "pong", running}               answers a ping: the run in progress, or 0
 */

/** The file that a cell names to read the run that the page shows. */
export const RUN_LOG = "run.jsonl";
/** The type of a snapshot as the site sends it. */
export const PACKED = "application/gzip";
const MESSAGE_LIMIT = 300; // characters
const CAUSES = [
  [/call stack|too much recursion|stack overflow/i, () =>
    "Calls or values were nested deeper than the browser's stack allows, and Python crashed."],
  [/exit\((-?\d+)\)/, ([, code]) => `The code exited Python itself, with exit code ${code}.`],
  [/unreachable|aborted|abort\(/i, () => "Python was aborted by the code."],
  [/MemoryError|out of memory|allocation failed|memory access out of bounds/i, () =>
    "Python ran out of the memory that a browser gives a page; closing other tabs may free some."],
];

const MB = 1_000_000;

const text = (limit) => (value) => typeof value === "string" && value.length <= limit;
const count = (value) => Number.isSafeInteger(value) && value >= 0;
const amount = (value) => Number.isFinite(value) && value >= 0;
const flag = (value) => typeof value === "boolean";
const orNull = (fits) => (value) => value === null || fits(value);
const shaped = (form) => (value) => hasForm(value, form);

const SHORT = text(300);
const ERROR = { type: SHORT, message: text(40_000), traceback: text(60_000), line: orNull(count) };
const RUN = { run: count, cell: SHORT };
const FORMS = {
  snapshot: { snapshot: (value) => value instanceof Blob && value.size <= 64 * MB },
  ready: {},
  failed: { reason: text(2000) },
  started: RUN,
  fetch: { ...RUN, id: count, name: text(2000) },
  damaged: { ...RUN, name: SHORT },
  stdout: { ...RUN, text: text(400_000) },
  table: { ...RUN, json: text(32 * MB) },
  plots: { ...RUN, json: text(32 * MB) },
  done: {
    ...RUN, value: orNull(text(30_000)), error: orNull(shaped(ERROR)), notice: text(2000),
    guessed: text(2000), seconds: amount, heapBytes: amount,
  },
  answer: { call: count, json: text(32 * MB) },
  began: { run: SHORT, problem: text(2000), title: text(2000), command: text(10_000) },
  events: { run: SHORT, lines: text(32 * MB) },
  ended: { run: SHORT },
  crashed: { ...RUN, reason: text(1000) },
  pong: { running: count },
};
const TURNS = {
  boot: ["snapshot", "ready", "failed", "crashed"],
  sent: ["started", "crashed", "pong"],
  run: ["fetch", "damaged", "stdout", "table", "plots", "done", "crashed", "pong"],
  ask: ["answer", "crashed"],
  train: ["answer", "began", "events", "ended", "crashed"],
  idle: ["crashed", "pong"],
};

/** @typedef {keyof TURNS} Turn boot: until ready; sent: a run that has not started; ask: a question; train: a fine-tune */

/**
 * Whether a worker may send this now.
 * @param {unknown} data of the message
 * @param {Turn} turn
 * @param {{run: number | string, cell?: string} | null} [current] the run in progress
 */
export function isAllowed(data, turn, current = null) {
  const type = data !== null && typeof data === "object" && Object.hasOwn(data, "type") ? data.type : "";
  if (!TURNS[turn].includes(type)) return false;
  const { type: _, ...rest } = data;
  if (!hasForm(rest, FORMS[type])) return false;
  if (type === "crashed" && data.run === 0) return true;
  return !("run" in FORMS[type]) || (data.run === current?.run && data.cell === current.cell);
}

/** Whether a value has exactly the properties of `form`, each accepted by its check. */
function hasForm(value, form) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return false;
  const names = Object.keys(value);
  const known = names.length === Object.keys(form).length && names.every((name) => Object.hasOwn(form, name));
  return known && names.every((name) => form[name](value[name]));
}

/** Why Python could not start, or crashed, in a sentence for the reader. */

/** @param {unknown} error what crashed Python @returns {string} why, as a sentence */
export function explainCrash(error) {
  const message = String(error?.message ?? error).trim().split("\n").at(-1).slice(0, MESSAGE_LIMIT);
  for (const [pattern, explain] of CAUSES) {
    const found = pattern.exec(message);
    if (found) return explain(found);
  }
  return `Python crashed (${message || "no reason was given"}).`;
}

/** Thrown when Python cannot start: `reason` is a sentence for the reader, with what to do. */
export class BootError extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.name = "BootError";
    this.reason = reason;
  }
}

export const BROKEN = "A part of Python could not be loaded. Check the connection and try again";

/** Runs `work`; whatever it throws becomes a BootError that starts with `what` happened. */
export async function orExplain(what, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BootError) throw error;
    throw new BootError(`${what} (${error.message ?? error}).`);
  }
}
