/** The table and the plots of a cell as they reach the page: checked before they are drawn. */

import { check } from "./check.js";
import { shapes } from "./schema.js";

/**
 * @param {unknown} data of one table, parsed
 * @returns {string} why it cannot be drawn; "" where it can
 */
export function tableFault(data) {
  return fault("table", data);
}

/**
 * @param {unknown} data of one plot, parsed; numbers that are not finite are gaps, as in JSON
 * @returns {string} as of `tableFault`
 */
export function plotFault(data) {
  const found = fault("plots", [data]);
  return found.includes(" not finite") ? fault("plots", JSON.parse(JSON.stringify([data]))) : found;
}

function fault(kind, data) {
  const shape = shapes()[kind];
  if (shape === null) return "Refused: this page holds no schema of tables and plots.";
  const { problem } = check(shape, data, kind);
  return problem && `Refused: ${problem}.`;
}
