/** Why Python could not start, or crashed, in a sentence for the reader. */

const MESSAGE_LIMIT = 300; // characters

const CAUSES = [
  [/call stack|too much recursion|stack overflow/i, () =>
    "Calls or values were nested deeper than the browser's stack allows, and Python crashed."],
  [/exit\((-?\d+)\)/, ([, code]) => `The code exited Python itself, with exit code ${code}.`],
  [/unreachable|aborted|abort\(/i, () => "Python was aborted by the code."],
  [/MemoryError|out of memory|allocation failed|memory access out of bounds/i, () =>
    "Python ran out of the memory that a browser gives a page; closing other tabs may free some."],
];

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

/** Runs `work`; whatever it throws becomes a BootError that starts with `what` happened. */
export async function orExplain(what, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BootError) throw error;
    throw new BootError(`${what} (${error.message ?? error})`);
  }
}
