/** Why Python could not start or has ended, in a sentence for the reader, and the outcome of a cell's run. */

const WORDS_LIMIT = 300;

/** From this size on, the memory is given back at the first MemoryError: variables hold it. */
export const FULL_BYTES = 2 ** 30;

const KNOWN = [
  [/call stack|too much recursion|stack overflow/i, () =>
    "The code nested calls or values deeper than the browser's stack goes, and that broke Python off."],
  [/exit\((-?\d+)\)/, ([, code]) => `The code ended Python itself, with exit code ${code}.`],
  [/unreachable|aborted|abort\(/i, () => "The code broke Python off (an abort)."],
  [/MemoryError|out of memory|allocation failed|memory access out of bounds/i, () =>
    "Python ran out of the memory that a browser gives a page; closing other tabs may free some."],
];

/** @param {unknown} error what broke Python @returns {string} why, in a sentence */
export function explainExit(error) {
  const words = String(error?.message ?? error).trim().split("\n").at(-1).slice(0, WORDS_LIMIT);
  for (const [form, say] of KNOWN) {
    const found = form.exec(words);
    if (found) return say(found);
  }
  return `Python broke off (${words || "it gave no reason"}).`;
}

/** @param {number} bytes of memory that a run had filled @returns {string} why Python was restarted */
export function explainFullMemory(bytes) {
  const gb = (bytes / 1e9).toFixed(1);
  return `The run had filled ${gb} GB of memory, all this page can have; to give it back, Python was ended.`;
}

/**
 * @typedef {{ok: boolean, value: string | null, error: object | null, notice: string,
 *   guessed: string, changed: string, seconds: number, stopped: boolean, cleared: boolean,
 *   reason: string}} Outcome
 *   error: {type, message, traceback, line}; notice: what was left out, in words; guessed: the
 *   reader's guess beside the result; changed: what cells have put in the place of what the page
 *   computes with; stopped: the reader did it; cleared: the names of all cells are gone, because
 *   Python was restarted, for a `reason` or by the reader
 */

/** @returns {Outcome} how a run of a cell has ended; everything not given is empty */
export function makeOutcome(known) {
  const empty = { ok: false, value: null, error: null, notice: "", guessed: "", changed: "", seconds: 0 };
  return { ...empty, stopped: false, cleared: false, reason: "", ...known };
}

/** @param {string} reason a sentence @returns {object} the error of a Python that failed itself: no line has it */
export function pythonError(reason) {
  return { type: "PythonError", message: reason, traceback: reason, line: null };
}

/** A start of Python that failed: `reason` is a sentence for the reader, with what to do. */
export class BootError extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.name = "BootError";
    this.reason = reason;
  }
}

/** Runs `work`; whatever it throws becomes a BootError that starts with `what` happened. */
export async function orExplain(what, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BootError) throw error;
    throw new BootError(`${what} (${error.message ?? error})`);
  }
}
