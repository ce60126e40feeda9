/**
 * A plot as a cell publishes it, in the one form that layout and marks use; its extents, its colours, and its
 * numbers as a table.
 */

import { decimalUnit } from "../figures/number.js";
import { paints } from "./color.js";

/**
 * @typedef {{label: string, data: (number | null)[], color?: string, dashed?: boolean}} Line
 * @typedef {{title?: string, x_label?: string, y_label?: string, x_data: (string | number)[],
 *   lines: Line[], type?: "line" | "bar" | "stacked_bar", thresholds?: {label: string, value: number}[],
 *   x_log?: boolean, y_log?: boolean, x_unit?: string, y_unit?: string, caption?: string}} Plot
 */

/**
 * Returns the plot in its inner form. Values that cannot be drawn become gaps and are counted in `notes`.
 * @param {Plot} data checked by the schema
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
  const [factor, name] = decimalUnit(largest);
  return { factor, unit: name };
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

/** Smallest and largest of the given numbers; null when there is none. */
function extentOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? null : [low, high];
}

/** Whether there is anything to draw. */
export function hasData(plot) {
  return (
    plot.x.length > 0 && plot.lines.some((line) => line.values.some((value) => value !== null))
  );
}

/**
 * For every line and index, where its bar begins and ends. Stacked bars pile up from zero, negative
 * ones downwards; other bars begin at zero.
 * @returns {([number, number] | null)[][]} [line][index]
 */
export function barSpans(plot) {
  const above = plot.x.map(() => 0);
  const below = plot.x.map(() => 0);
  return plot.lines.map((line) =>
    line.values.map((value, index) => {
      if (value === null) return null;
      if (plot.type === "bar") return [0, value];
      const pile = value < 0 ? below : above;
      pile[index] += value;
      return [pile[index] - value, pile[index]];
    }),
  );
}

/** The y extent: bars and thresholds from zero; lines from zero too unless that would waste half. */
export function yExtent(plot) {
  const marks =
    plot.type === "line" ? plot.lines.map((line) => line.values) : barSpans(plot).flat();
  const limits = plot.thresholds.map(({ value }) => value);
  const extents = [...marks.map((each) => extentOf(each ?? [])), extentOf(limits)].filter(Boolean);
  const [low, high] = extentOf(extents.flat());
  if (plot.yLog) return [low, high];
  if (plot.type !== "line") return [Math.min(0, low), Math.max(0, high)];
  return low > 0 && low < high / 2 ? [0, high] : [low, high];
}

/** The x extent of a numeric axis. */
export function xExtent(plot) {
  return extentOf(plot.x);
}

/**
 * The plot's data as a table of the cell contract, in the units it was given in.
 * @param {Plot} data
 * @returns {import("../tables/view.js").Table}
 */
export function plotTable(data) {
  const value = data.y_label ? String(data.y_label) : "Value";
  return {
    headers: [
      data.x_label ? String(data.x_label) : "x",
      ...data.lines.map(({ label }) => (label ? String(label) : value)),
    ],
    units: [data.x_unit ?? "", ...data.lines.map(() => data.y_unit ?? "")],
    rows: data.x_data.map((x, index) => [x, ...data.lines.map((line) => line.data[index])]),
    caption: data.title ? String(data.title) : undefined,
  };
}

/**
 * The plot with only the points whose x lies in a range; null when fewer than two do.
 * @param {object} plot from `readPlot`, with a numeric x axis
 * @param {[number, number]} range
 */
export function zoomed(plot, [low, high]) {
  const kept = plot.x.flatMap((x, index) => (x >= low && x <= high ? [index] : []));
  if (kept.length < 2) return null;
  const pick = (values) => kept.map((index) => values[index]);
  return {
    ...plot,
    x: pick(plot.x),
    lines: plot.lines.map((line) => ({ ...line, values: pick(line.values) })),
  };
}
