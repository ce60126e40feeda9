/**
 * Reads the tables and plots a run has published, as `unfrozen.publish` lets them through. That was
 * in the run's own Python, which a cell may have turned around: here they are checked again.
 */

import { check, read } from "../schema/check.js";
import { shapes } from "../schema/schema.js";

const MAX_LENGTH = 32_000_000; // characters, as in `unfrozen.publish`

/** @param {string} json @returns {object[] | null} the table, alone in a list; null: it is none */
export function readTable(json) {
  const table = checked(json, shapes().table);
  return table && [table];
}

/** @param {string} json @returns {object[] | null} all plots; null: one of them is none */
export function readPlots(json) {
  return checked(json, shapes().plots);
}

function checked(json, shape) {
  const { value, problem } = read(json, MAX_LENGTH);
  return problem ? null : check(shape, value).value;
}
