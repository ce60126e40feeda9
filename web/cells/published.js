/**
 * Reads the tables and plots a run has published, as `unfrozen.publish` lets them through. That was
 * in the run's own Python, which a cell may have turned around: here they pass the frontier again.
 */

import { check } from "../frontier/check.js";
import { read } from "../frontier/read.js";
import { shapes } from "../frontier/shapes.js";

const MOST = 32_000_000; // characters, as in `unfrozen.cell_json`

/** @param {string} json @returns {object[] | null} the table, alone in a list; null: it is none */
export function readTable(json) {
  const table = passed(json, shapes().table);
  return table && [table];
}

/** @param {string} json @returns {object[] | null} all plots; null: one of them is none */
export function readPlots(json) {
  return passed(json, shapes().plots);
}

function passed(json, shape) {
  const { value, problem } = read(json, MOST);
  return problem ? null : check(shape, value).value;
}
