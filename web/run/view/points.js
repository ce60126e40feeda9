/** The raw points of runs as a file: CSV, a row for each step of each run. */

import { fileName, saveFile } from "../../figures/tools.js";
import { toCsv } from "../../tables/export.js";
import { axisOf } from "../compare.js";

const MOST_LINES = 5000; // of CSV in one piece

/** @typedef {import("../fold.js").Run} Run */

/** Offers the raw points of runs. @param {Run[]} runs */
export function savePoints(runs) {
  saveFile(fileName(runs.map(({ run }) => run).join(" "), "runs", "csv"), new Blob([...csvOf(runs)], { type: "text/csv" }));
}

/**
 * Yields the raw points of runs as CSV, a row for each step of each run, some thousand lines at a time. What a resume
 * abandoned is marked, and comes after what counts.
 * @param {Run[]} runs
 */
export function* csvOf(runs) {
  const names = [...new Set(runs.flatMap((run) => pointsOf(run).map(([name]) => name)))].sort();
  yield toCsv({ headers: ["run", "step", "seconds", "abandoned", ...names], rows: [] });
  for (const run of runs) {
    const all = pointsOf(run);
    yield* rowsOf(run, names, new Map(all), "");
    for (const [name, { old }] of all) for (const points of old) yield* rowsOf(run, names, new Map([[name, points]]), "yes");
  }
}

/** Returns all points of a run by what they are named in a table. @returns {[string, import("../fold.js").Series][]} */
function pointsOf(run) {
  const named = (group, prefix) => Object.entries(group).map(([name, points]) => [prefix + name, points]);
  return [...named(run.series, ""), ...named(run.evals, "eval/"), ...named(run.right, "right/")];
}

/** Yields rows; a step at which a series has several points has as many rows. */
function* rowsOf(run, names, points, abandoned) {
  const columns = names.map((name) => ({ x: points.get(name)?.x ?? [], y: points.get(name)?.y ?? [], at: 0 }));
  const first = Math.min(...columns.flatMap(({ x }) => (abandoned && x.length ? [x[0]] : [])));
  const seconds = axisOf(run, "seconds", first);
  const lines = [];
  for (;;) {
    const step = columns.reduce((least, { x, at }) => Math.min(least, x[at] ?? Infinity), Infinity);
    if (step === Infinity) break;
    lines.push([step, columns.map((column) => (column.x[column.at] === step ? column.y[column.at++] : ""))]);
  }
  const times = seconds(lines.map(([step]) => step));
  for (let from = 0; from < lines.length; from += MOST_LINES) {
    const some = lines.slice(from, from + MOST_LINES);
    const rows = some.map(([step, values], index) => [run.run, step, times[from + index], abandoned, ...values]);
    yield toCsv({ headers: [], rows }).slice("\r\n".length);
  }
}
