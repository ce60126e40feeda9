/** How a run of a cell has ended. */

/**
 * @typedef {{ok: boolean, value: string | null, error: object | null, notice: string,
 *   guessed: string, changed: string, seconds: number, stopped: boolean, cleared: boolean,
 *   reason: string}} Outcome
 *   error: {type, message, traceback, line}; notice: what was left out, in words; guessed: the
 *   reader's guess beside the result; changed: what cells have put in the place of what the page
 *   computes with; stopped: the reader did it; cleared: the names of all cells are gone, because
 *   Python was restarted, for a `reason` or by the reader
 */

/** @returns {Outcome} an outcome with everything not given left empty */
export function ended(known) {
  const empty = { ok: false, value: null, error: null, notice: "", guessed: "", changed: "", seconds: 0 };
  return { ...empty, stopped: false, cleared: false, reason: "", ...known };
}

/** Python itself has failed: an error that is no line's. @param {string} reason in a sentence */
export function crash(reason) {
  return { type: "PythonError", message: reason, traceback: reason, line: null };
}
