/**
 * Why a Python has ended, in a sentence for its reader.
 *
 * What ends one: code that leaves (`os._exit`), code that breaks it off (`os.abort`, an empty
 * `builtins`), code that nests deeper than the browser's stack, and memory that is used up.
 */

const WORDS_LIMIT = 300;

/** From so much on memory is given back at the first MemoryError: the names hold it. */
export const FULL_BYTES = 2 ** 30;

const KNOWN = [
  [/call stack|too much recursion|stack overflow/i, () =>
    "The code nested calls or values deeper than the browser's stack goes, and that broke Python off."],
  [/exit\((-?\d+)\)/, ([, code]) => `The code ended Python itself, with exit code ${code}.`],
  [/unreachable|aborted|abort\(/i, () => "The code broke Python off (an abort)."],
  [/out of memory|allocation failed|memory access out of bounds/i, () =>
    "Python ran out of the memory that a browser gives a page."],
];

/** @param {unknown} error what broke Python @returns {string} a sentence */
export function whyEnded(error) {
  const words = String(error?.message ?? error).trim().split("\n").at(-1).slice(0, WORDS_LIMIT);
  for (const [form, say] of KNOWN) {
    const found = form.exec(words);
    if (found) return say(found);
  }
  return `Python broke off (${words || "it gave no reason"}).`;
}

/** @param {number} bytes of memory that a run had filled @returns {string} a sentence */
export function whyEmptied(bytes) {
  const gb = (bytes / 1e9).toFixed(1);
  return `The run had filled ${gb} GB of memory, all this page can have; to give it back, Python was ended.`;
}
