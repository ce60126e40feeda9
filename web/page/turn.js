/** Work that is long together and short apart: one piece a task, so that the reader is heard between. */

let last = Promise.resolve();

/** Resolves in a task of its own, after those that were asked for before. @returns {Promise<void>} */
export function turn() {
  last = last.then(() => new Promise((resolve) => setTimeout(resolve)));
  return last;
}
