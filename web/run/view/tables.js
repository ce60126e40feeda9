/** The values of a run's charts as tables, for screen readers and for copying. */

import { firstStep } from "../fold.js";
import { componentLabel, metricOf, sortComponents, suiteLabel } from "../../schema/schema.js";
import { columnsOf, movedLayers } from "./bars.js";

const MOST_ROWS = 200;

/** Returns metrics by step: at most 200 evenly spaced steps, and always the last one. */
export function stepTable(run, names) {
  const present = names.filter((name) => run.series[name]?.x.length);
  const steps = thinned(run.series[present[0]]?.x ?? []);
  const valueAt = (name) => {
    const { x, y } = run.series[name];
    const found = new Map(x.map((step, index) => [step, y[index]]));
    return (step) => cell(found.get(step));
  };
  const columns = present.map(valueAt);
  return {
    headers: ["Step", ...present.map((name) => metricOf(name).label)],
    rows: steps.map((step) => [step, ...columns.map((at) => at(step))]),
    units: ["", ...present.map((name) => plainUnit(metricOf(name).unit))],
    caption: steps.length < (run.series[present[0]]?.x.length ?? 0) ? "Every n-th step" : "By step",
  };
}

/** Returns every suite's loss now, its baseline, and the change that the trainer computed. */
export function evalTable(run) {
  const suites = Object.entries(run.evals).filter(([, scores]) => scores.x.length);
  return {
    headers: ["Held-out set", firstHeader(run, suites), "Now", "Change"],
    rows: suites.map(([name, s]) => [suiteLabel(name), cell(s.baseline), cell(s.y.at(-1)), cell(s.delta.at(-1))]),
    units: ["", "nats", "nats", "nats"],
    caption: "Loss on held-out sets",
  };
}

/** Returns the header of the baselines: all of one step, or not. */
function firstHeader(run, suites) {
  const steps = new Set(suites.map(([, suite]) => firstStep(run, suite)));
  return steps.size > 1 ? "At first" : `At step ${[...steps][0] ?? 0}`;
}

/** Returns predicted and measured bytes by instant and component. */
export function memoryTable(memory) {
  const rows = columnsOf(memory).flatMap((column) => {
    const predicted = Object.fromEntries(column.predicted);
    const measured = Object.fromEntries(column.measured);
    const names = sortComponents(Object.keys({ ...predicted, ...measured }));
    const line = (name) => [column.label, componentLabel(name), predicted[name] ?? null, measured[name] ?? null];
    return names.map(line);
  });
  return {
    headers: ["Instant", "Component", "Predicted", "Measured"],
    rows,
    units: ["", "", "bytes", "bytes"],
    caption: "Memory by instant and component",
  };
}

/** Returns the relative change of each layer, and of the whole model, at the newest measurement. */
export function driftTable({ x, total, layers }) {
  const rows = movedLayers(layers).map(({ name, ratio }) => [name, percent(ratio)]);
  return {
    headers: ["Layer", "Change"],
    rows: x.length ? [...rows, ["the whole model", percent(total.at(-1))]] : [],
    units: ["", "%"],
    caption: `Drift from the pre-trained weights at step ${x.at(-1) ?? 0}`,
  };
}

function thinned(steps) {
  const stride = Math.ceil(steps.length / MOST_ROWS);
  return steps.filter((_, index) => index % stride === 0 || index === steps.length - 1);
}

/** Returns a ratio as per cent, with the digits of the log. */
function percent(ratio) {
  return cell(Number((100 * ratio).toPrecision(6)));
}

/** Returns a cell: a finite number, "NaN" as text, or null for a missing value. */
function cell(value) {
  if (value === undefined) return null;
  return Number.isFinite(value) ? value : String(value);
}

function plainUnit(unit) {
  return unit === "1" ? "" : unit;
}
