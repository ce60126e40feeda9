/** What a run of another tool says of itself: `unfrozen.imported.told` wrote it into its first event. */

import { schema } from "../frontier/shapes.js";

/** @typedef {ReturnType<typeof import("./fold.js").emptyRun>} Run */

/** @param {Run} run @returns {boolean} whether another tool's files are all there is of it */
export function isImported(run) {
  return run.start?.source === "imported";
}

/** @param {Run} run @param {string} name of a number @returns {string} how it was taken, where not as ours are */
export function meaningOf(run, name) {
  return run.start?.meanings?.[name] ?? "";
}

/** @param {Run} run @returns {string[]} series under the names that its tool gave them */
export function otherSeries(run) {
  return Object.keys(run.series).filter((name) => name.startsWith(schema().other));
}

/** @param {string} name @returns {string} as its tool has it */
export function otherName(name) {
  return name.slice(schema().other.length);
}

/** @param {Run} run @param {{x: number[]}} suite @returns {number} the step from which its change counts */
export function firstStep(run, suite) {
  return isImported(run) ? suite.x[0] : 0;
}
