/**
 * What a comparison shows: a table of results and settings, differences with their intervals, curves, the plane; and the
 * plane of one run whose model was blended. Pure.
 */

import { formatBytes, formatDelta, formatLoss } from "../../figures/number.js";
import { h } from "../../figures/vnode.js";
import { planeView } from "../../plots/plane.js";
import { tableView } from "../../tables/view.js";
import { areSame, axisOf, blendsOf, examplesWarning, differingSettings, frontier, pairedLosses, pathOf, scoreText, withinOf } from "../compare.js";
import { metricOf } from "../../schema/schema.js";
import { smoothed } from "./charts.js";

const UNITS = { step: "step", tokens: "tokens", seconds: "second" };

/** @typedef {{run: import("../compare.js").Run, number: number, color: string, title: string, name?: string, status?: string}} Compared */

/** Returns results and differing settings, a column for each run. @param {Compared[]} runs */
export function settingsTable(runs) {
  const last = (points, format) => (points?.y.length ? format(points.y.at(-1)) : null);
  const change = (scores) => (scores?.delta.length ? formatDelta(scores.delta.at(-1)) : null);
  const of = ({ y, of: all }) => `${Math.round(y.at(-1) * all)} of ${all}`;
  const results = [
    ["Status", ({ status }, told) => told ?? status],
    ["Step", ({ step }) => `${step}`],
    ["Task loss", ({ evals }) => last(evals.task, formatLoss)],
    ["General loss since step 0", ({ evals }) => change(evals.general)],
    ["Right answers, task", ({ right }) => (right.task?.y.length ? of(right.task) : null)],
    ["Right answers, general", ({ right }) => (right.general?.y.length ? of(right.general) : null)],
    ["Peak memory", ({ memory }) => peakText(Object.values(memory.measured))],
  ].map(([name, valueOf]) => [name, ...runs.map(({ run, status }) => valueOf(run, status))]);
  const settings = differingSettings(runs.map(({ run }) => run));
  return {
    headers: ["", ...runs.map(({ number, title }) => `${number} · ${title}`)],
    rows: [...results.filter(([, ...values]) => values.some((value) => value !== null)), ...settings],
    caption: settings.length ? "Results, and the settings in which they differ" : "Results; no setting differs",
  };
}

function peakText(instants) {
  return instants.length ? formatBytes(Math.max(...instants.map(({ bytes }) => bytes))) : null;
}

/** Returns the run that the others are held against: the first if that of the number is not here. @param {Compared[]} runs */
export function baseOf(runs, against) {
  return runs.find(({ number }) => number === against) ?? runs[0];
}

/**
 * Returns the losses of the same examples that each run and the base have logged, of which Python makes intervals.
 * @param {Compared[]} runs
 * @param {number} against
 * @returns {{number: number, suite: string, losses: [number[], number[]]}[]}
 */
export function comparedLosses(runs, against) {
  const base = baseOf(runs, against);
  const pairs = runs.flatMap(({ run, number }) => ["task", "general"].map((suite) => ({ number, suite, losses: pairedLosses(base.run, run, suite) })));
  return pairs.filter(({ number, losses }) => number !== base.number && losses?.[0].length > 1);
}

/**
 * Says of each run and the base whether they differ by more than the noise of the held-out rows.
 * @param {Compared[]} runs
 * @param {number} against
 * @param {({mean: number, low: number, high: number} | null)[] | null} intervals of `comparedLosses`; null: Python has made none
 */
export function differencesView(runs, against, intervals) {
  const base = baseOf(runs, against);
  const pairs = comparedLosses(runs, against);
  const bare = runs.filter(({ number }) => number !== base.number && !pairs.some((pair) => pair.number === number)).map(({ number }) => number);
  const why = `No interval for run ${bare.join(", ")}: not both logs hold the finite losses of the same held-out examples at their newest evaluation.`;
  const warning = examplesWarning(runs.map(({ run }) => run));
  return h(
    "div",
    null,
    warning && h("p", { class: "bad" }, warning),
    pairs.length > 0 && !intervals && h("p", { class: "quiet" }, "Python could not compute the intervals."),
    pairs.length > 0 && intervals && [
      h("ul", { class: "run-compare-differences" }, pairs.map((pair, index) => h("li", null, differenceText(base, pair, intervals[index])))),
      h("p", { class: "quiet" }, "Differences of the mean loss of an example, at the newest evaluation, with a 95% interval by bootstrap over the same examples."),
    ],
    bare.length > 0 && h("p", { class: "quiet" }, why),
  );
}

function differenceText(base, { number, suite, losses }, { mean, low, high }) {
  const what = suite === "task" ? "on the task" : "on what it knew before";
  const interval = `${formatDelta(low)} to ${formatDelta(high)}`;
  const [pair, rows] = [`Run ${number} and run ${base.number} ${what}`, losses[0].length];
  if (low <= 0 && high >= 0) return `${pair}: no difference that ${rows} examples show (${interval} nats).`;
  return `${pair}: run ${number} is ${formatLoss(Math.abs(mean))} nats ${mean < 0 ? "lower" : "higher"} (${interval}, ${rows} examples).`;
}

/** Returns the charts by name, null for one without lines. @param {Compared[]} runs */
export function chartsOf(runs, options) {
  const { axis, log } = options;
  const of = `${runs.map(({ run }) => run.run).join()} ${axis}`;
  const lastStep = axis === "step" ? Math.max(...runs.map(({ run }) => run.plan.steps)) : 0;
  const legend = runs.map(({ number, title }) => `${number}: ${title}`).join(". ");
  const chart = (title, unit, lines, note) => {
    const drawn = log ? lines.map((line) => ({ ...line, y: line.y.map((value) => (value > 0 ? value : NaN)) })) : lines;
    return lines.length ? { title, unit, axis: UNITS[axis], note, lines: drawn, zero: !log, log, of, room: 40, lastStep, planned: lastStep, marks: [] } : null;
  };
  const dotted = (pointsOf) => runs.flatMap((one) => linesOf(pointsOf(one.run), one, axis, { dots: true }));
  const losses = runs.flatMap((one) => lossLines(one, options));
  return {
    task: chart("Loss on the task", "nats", losses, `Dots: held-out examples; pale: each batch. ${legend}.`),
    general: chart("Loss on what it knew before", "nats", dotted(({ evals }) => evals.general), "A rising line is forgetting."),
    right: chart("Right answers on the task", "ratio", dotted(({ right }) => right.task), "Held-out examples whose whole answer is right."),
    also: alsoChart(runs, options, chart),
  };
}

/** Returns the chart of the curve that was chosen besides. */
function alsoChart(runs, { also, axis }, chart) {
  const metric = metricOf(also);
  return chart(metric.label, metric.unit, runs.flatMap((one) => linesOf(one.run.series[also], one, axis, { thin: true })), metric.meaning);
}

/** Returns the other curves of runs, as [name, title]. @param {Compared[]} runs @returns {[string, string][]} */
export function otherCurves(runs) {
  const names = new Set(runs.flatMap(({ run }) => Object.keys(run.series)));
  names.delete("train/loss"); // drawn with the loss of the held-out examples
  return [...names].sort().map((name) => [name, metricOf(name).label]);
}

/** Returns the line of a series of a run, behind it those of attempts that were abandoned: they are never joined. */
function linesOf(points, { number, color, run }, axis, look) {
  if (!points?.x.length && !points?.old.length) return [];
  const abandoned = { label: `run ${number}, abandoned`, color, faint: true, end: "" };
  const old = points.old.map(({ x, y }) => ({ ...abandoned, x: axisOf(run, axis, x[0])(x), y }));
  const line = { label: `run ${number}`, color, x: axisOf(run, axis)(points.x), y: points.y, end: `${number}`, ...look };
  return [...old, line].filter(({ x }) => !Number.isNaN(x[0])); // a log may lack the axis
}

/** Returns the loss of each batch, smoothed with its moving average before it, and of the held-out examples. */
function lossLines(one, { axis, smooth }) {
  const { number, run } = one;
  const batches = linesOf(run.series["train/loss"], one, axis, { thin: true, pale: true, end: "", label: `run ${number}, each batch` });
  const mean = smooth ? batches.slice(-1).map((line) => ({ ...line, pale: false, y: smoothed(line.y), label: `run ${number}, moving average` })) : [];
  return [...batches, ...mean, ...linesOf(run.evals.task, one, axis, { dots: true })];
}

/** @param {Compared[]} runs @param {number} [width] pixels */
export function planeOf(runs, width = 640) {
  const paths = runs
    .map((one) => ({ ...one, path: pathOf(one.run), blends: blendsOf(one.run), isShown: true, hasPoints: true }))
    .filter(({ path }) => path.length)
    .map((one) => ({ ...one, within: withinOf(one.run) }));
  if (paths.length === 0) return null;
  const isOne = ["task", "general"].every((suite) => areSame(paths.map(({ run }) => run), suite) !== false);
  const best = isOne ? frontier(paths.flatMap(({ path }) => path)) : [];
  return [
    h("h3", { class: "run-chart-title" }, "What was learned, and what was kept"),
    ...planeView(null, paths, width, best),
    h("p", { class: "run-chart-note quiet" }, "A path is a run, a point an evaluation; the cross at its end is the 95% interval (Wilson) of both shares. Joined: points that no other beats in both respects.", paths.some(({ blends }) => blends.length) && ` ${BLENDED}`),
  ];
}

const BLENDED = "Dotted: the way back to the model before, θ₀ + α (θ* − θ₀), as blend scored it; filled is the chosen α, a diamond is the trained model. Changes are against the trained model, with 95% intervals.";

/** Returns what a run learned and kept, and what `blend` made of its model. @param {import("../compare.js").Run} run @param {number} [width] */
export function wayBackView(run, width) {
  if (run.blends.length === 0) return null;
  const one = { run, number: 1, title: "this run" };
  const tables = run.blends.filter(() => blendsOf(run).length === 0).map(blendTable);
  return h(
    "figure",
    { class: "run-figure run-compare-plane" },
    planeOf([one], width) ?? h("h3", { class: "run-chart-title" }, "The way back"),
    tables.map((table) => tableView(table)),
    run.blends.map(({ how, chosen, reason }) =>
      h("p", { class: "run-chart-note" }, `${how ? `${how}: ` : ""}${chosen === null ? "no α is chosen" : `α = ${chosen} is chosen`}: ${reason}.`)),
  );
}

/** Returns the points of a blend as a table. */
function blendTable({ how, points }) {
  return {
    headers: ["Model", "Task", "General"],
    rows: points.map(({ alpha, name, sets }) => [name || `α = ${alpha}`, scoreText("", sets.task).trim(), scoreText("", sets.general).trim()]),
    caption: `Blends with the model before${how && `, ${how}`}: right answers or loss; change against the trained model with its 95% interval`,
  };
}
