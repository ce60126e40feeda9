/** A plot as cells give it, checked and put into the one shape that layout and marks use. */

import { describe } from "../figures/state.js";
import { paints } from "./color.js";

/**
 * @typedef {{label: string, data: (number | null)[], color?: string, dashed?: boolean}} Line
 * @typedef {{title?: string, x_label?: string, y_label?: string, x_data: (string | number)[],
 *   lines: Line[], type?: "line" | "bar" | "stacked_bar", thresholds?: {label: string, value: number}[],
 *   x_log?: boolean, y_log?: boolean, x_unit?: string, y_unit?: string, caption?: string}} Plot
 */

const LARGEST = 1e300;
const TYPES = ["line", "bar", "stacked_bar"];
const BYTE_UNITS = [
  [1e12, "TB"],
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
  [0, "B"],
];

/**
 * What is wrong with a value meant as one plot, or null when nothing is.
 * @param {unknown} data
 * @returns {string | null} one sentence with the value, the bound and the remedy
 */
export function plotProblem(data) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) {
    return `A plot is an object {"x_data": […], "lines": […]}, not ${describe(data)}.`;
  }
  if (!Array.isArray(data.x_data)) return `"x_data" must be a list, not ${describe(data.x_data)}.`;
  if (!Array.isArray(data.lines)) return `"lines" must be a list, not ${describe(data.lines)}.`;
  if (data.type !== undefined && data.type !== null && !TYPES.includes(data.type)) {
    return `"type" is ${describe(data.type)}; it can be ${TYPES.join(", ")}.`;
  }
  const badX = data.x_data.findIndex((x) => typeof x !== "string" && !isDrawable(x));
  if (badX >= 0)
    return `"x_data" item ${badX + 1} is ${describe(data.x_data[badX])}; use text or a number up to 1e300.`;
  for (const [index, line] of data.lines.entries()) {
    const problem = lineProblem(line, index + 1, data.x_data.length);
    if (problem) return problem;
  }
  return thresholdProblem(data.thresholds);
}

function lineProblem(line, number, length) {
  if (line === null || typeof line !== "object")
    return `Line ${number} is ${describe(line)}; use an object.`;
  if (!Array.isArray(line.data))
    return `Line ${number}: "data" must be a list, not ${describe(line.data)}.`;
  if (line.data.length !== length) {
    return `Line ${number} has ${line.data.length} values but "x_data" has ${length}; make them equal.`;
  }
  const bad = line.data.findIndex(
    (y) => y !== null && !(isDrawable(y) || (typeof y === "number" && !Number.isFinite(y))),
  );
  if (bad < 0) return null;
  return `Line ${number}, value ${bad + 1} is ${describe(line.data[bad])}; use a number up to 1e300, or null for a gap.`;
}

/** Sums and spans of such numbers stay finite. */
function isDrawable(value) {
  return typeof value === "number" && Math.abs(value) <= LARGEST;
}

function thresholdProblem(thresholds) {
  if (thresholds === undefined || thresholds === null) return null;
  if (!Array.isArray(thresholds))
    return `"thresholds" must be a list, not ${describe(thresholds)}.`;
  const bad = thresholds.find((each) => !isDrawable(each?.value));
  return bad === undefined
    ? null
    : `A threshold needs a number as "value"; this one is ${describe(bad)}.`;
}

/**
 * The plot in its inner shape. Values that cannot be drawn become gaps and are counted in `notes`.
 * @param {Plot} data without a `plotProblem`
 */
export function readPlot(data) {
  const type = data.type ?? "line";
  const isCategory = type !== "line" || data.x_data.some((x) => typeof x === "string");
  const notes = [];
  const { factor, unit } = byteScale(data);
  const lines = readLines(data, factor);
  const yLog = readYLog(data.y_log, type, lines, notes);
  const xLog = !isCategory && readXLog(data, notes);
  const thresholds = readThresholds(data, factor).filter(({ value }) => !yLog || value > 0);
  return {
    type,
    isCategory,
    lines,
    notes,
    xLog,
    yLog,
    thresholds,
    title: text(data.title),
    caption: text(data.caption),
    xLabel: text(data.x_label),
    yLabel: text(data.y_label),
    xUnit: text(data.x_unit),
    yUnit: unit,
    x: data.x_data,
  };
}

function readThresholds(data, factor) {
  return (data.thresholds ?? []).map(({ label, value }) => ({
    label: text(label),
    value: value / factor,
  }));
}

function readXLog(data, notes) {
  if (!data.x_log) return false;
  const isPositive = data.x_data.every((x) => x > 0);
  if (!isPositive) notes.push("Some x lie at or below zero, so this axis stays linear.");
  return isPositive;
}

function text(value) {
  return value === null || value === undefined ? "" : String(value);
}

function readLines(data, factor) {
  const painted = paints(data.lines.map(({ label, color }) => ({ label: text(label), color })));
  return data.lines.map((line, index) => ({
    label: text(line.label),
    isDashed: Boolean(line.dashed),
    hatch: data.type === "stacked_bar" && !line.dashed ? index : null,
    paint: painted[index],
    values: line.data.map((y) => (Number.isFinite(y) ? y / factor : null)),
  }));
}

/** Bytes are drawn in the decimal unit that suits the largest value. */
function byteScale(data) {
  const unit = text(data.y_unit);
  if (!/^(?:B|bytes)$/.test(unit)) return { factor: 1, unit };
  let largest = 0;
  for (const { data: values } of data.lines) {
    for (const y of values) if (Number.isFinite(y)) largest = Math.max(largest, Math.abs(y));
  }
  const [size, name] = BYTE_UNITS.find(([bound]) => largest >= bound);
  return { factor: size || 1, unit: name };
}

/** Whether the y axis is logarithmic; bars keep zero, and values without a logarithm are gaps. */
function readYLog(asked, type, lines, notes) {
  if (!asked) return false;
  if (type !== "line") {
    notes.push("Bars are measured from zero, so this axis stays linear.");
    return false;
  }
  let dropped = 0;
  for (const line of lines) {
    line.values = line.values.map((y) => (y !== null && y <= 0 ? (dropped++, null) : y));
  }
  if (dropped > 0)
    notes.push(
      `${dropped} ${dropped === 1 ? "value" : "values"} at or below zero cannot stand on a log axis.`,
    );
  return true;
}
