/** The line charts of a run: the lines of each, their names and notes. */

import { isImported, meaningOf } from "../fold.js";
import { binaryUnit, formatDelta } from "../../figures/number.js";
import { chartMetrics, metricOf, suiteLabel } from "../../schema/schema.js";

/** @typedef {ReturnType<typeof import("../fold.js").emptyRun>} Run */

/**
 * @param {Run} run
 * @param {{smooth?: boolean, whole?: boolean}} [options] smooth: with a moving average of the loss; whole: the axis
 *   reaches to the planned end
 * @returns {Record<string, import("./chart.js").Chart | null>} null for a chart without a series
 */
export function makeCharts(run, options = {}) {
  const planned = run.plan.steps;
  const reach = { of: run.run, planned, lastStep: options.whole ? planned : 0 };
  return {
    loss: unlessMissing(run, { ...lossChart(run, options), ...reach }),
    rate: unlessMissing(run, { ...rateChart(run), of: run.run }),
    evals: unlessMissing(run, { ...generalChart(run), ...reach }),
    right: answersChart(run, reach),
    ...seriesCharts(run, reach),
  };
}

/** Returns null for an empty chart of an imported run, which gets no more values. */
function unlessMissing(run, chart) {
  return isImported(run) && chart.lines.every(({ x }) => x.length === 0) ? null : chart;
}

function lossChart(run, { smooth }) {
  const loss = run.series["train/loss"];
  const batches = { label: isImported(run) ? "as logged" : "each batch", color: "--series-1", x: loss?.x ?? [], y: loss?.y ?? [] };
  const scores = run.evals.task;
  const isScored = scores?.x.length > 0;
  const log = spansDecades([batches, ...(scores ? [scores] : [])]);
  return {
    title: log ? "Loss on the task (log scale)" : "Loss on the task",
    log,
    unit: meaningOf(run, "train/loss") && !isImported(run) ? "1" : "nats",
    room: 112,
    note: lossNote(run, smooth, isScored),
    lines: [
      ...abandonedLines(loss, "abandoned"),
      ...abandonedLines(scores, "abandoned, held-out"),
      ...batchLines(batches, smooth, isScored ? "" : undefined),
      ...(isScored ? [suiteLine("held-out", scores, "--series-4", { dots: scores.x.length < 60 })] : []),
    ],
    marks: marksOf(run),
  };
}

/** Returns the line of the loss of each batch; smoothed, a pale one behind its moving average. */
function batchLines(batches, smooth, end) {
  if (!smooth) return [{ ...batches, end }];
  const mean = { ...batches, label: "moving average", y: smoothed(batches.y), end };
  return [{ ...batches, thin: true, pale: true, end: "" }, mean];
}

function lossNote(run, smooth, isScored) {
  const mean = smooth ? ", and its moving average" : "";
  const loss = meaningOf(run, "train/loss");
  if (!isImported(run)) {
    if (loss) return `Line: ${loss}${mean}.`;
    return `Nats per trained token. Line: each step's batch${mean}. Dots: held-out examples, with the change since step 0.`;
  }
  const scored = isScored ? ` Dots: held-out examples; ${meaningOf(run, "eval")}.` : "";
  return `${loss && `Line: ${loss}${mean}.`}${scored}`;
}

/** Whether a loss falls so far that its end would lie on a linear axis. */
function spansDecades(lines) {
  let lowest = Infinity;
  let highest = 0;
  for (const { y } of lines) {
    for (const value of y) {
      if (!Number.isFinite(value)) continue;
      if (value < lowest) lowest = value;
      if (value > highest) highest = value;
    }
  }
  return lowest > 0 && highest > 20 * lowest;
}

function rateChart(run) {
  const rate = run.series["opt/lr"];
  const planned = { label: "planned", color: "--series-1", dashed: true, x: run.plan.x, y: run.plan.lr };
  const used = { label: "used", color: "--series-1", x: rate?.x ?? [], y: rate?.y ?? [] };
  const bothDone = used.x.length > 0 && used.x.at(-1) >= (planned.x.at(-1) ?? Infinity);
  return {
    title: "Learning rate",
    unit: "1",
    room: 76,
    note: planned.x.length ? "Dashed: the schedule. Solid: what the optimizer used." : "What the optimizer used, as it was logged.",
    lines: [
      { ...planned, end: bothDone ? "" : undefined },
      { ...used, end: bothDone ? "as planned" : "" }, // on the dashed line there is no room for a label
    ].filter((line) => line.x.length),
    zero: true,
    lastStep: run.plan.steps,
  };
}

/** Returns the chart of general skills, on its own axis: their change is often small beside that of the task. */
function generalChart(run) {
  const suites = Object.entries(run.evals).filter(([name, scores]) => name !== "task" && scores.x.length);
  const skills = suites.filter(([name]) => name.includes("/"));
  const isAlone = skills.length === 1; // then the mean over the skills is the same line
  const main = isAlone ? skills : suites.filter(([name]) => !name.includes("/"));
  const details = isAlone ? [] : skills;
  const isOurs = !isImported(run) || main.some(([name]) => name === "general");
  return {
    title: isOurs ? "Loss on what it knew before" : "Loss on other held-out sets",
    unit: "nats",
    room: 132,
    note: generalNote(run, isOurs),
    lines: [
      ...main.flatMap(([, scores]) => abandonedLines(scores, "abandoned")),
      ...details.map(([name, s]) => suiteLine(suiteName(name), s, skillColor(name, skills), { thin: true })),
      ...main.map(([name, s]) => suiteLine(suiteName(name), s, "--series-2", { dots: s.x.length < 60 })),
    ],
    marks: run.attempts.map(resumeMark),
    zero: true,
  };
}

/** Returns null where no set has answers to compare. */
function answersChart(run, reach) {
  const sets = Object.entries(run.right).filter(([, answers]) => answers.x.length);
  if (sets.length === 0) return null;
  const skills = Object.entries(run.evals).filter(([name]) => name.includes("/"));
  const shown = sets.some(([name]) => name.includes("/")) ? sets.filter(([name]) => name !== "general") : sets; // general is their sum
  const color = (name) => (name === "task" ? "--series-4" : name === "general" ? "--series-2" : skillColor(name, skills));
  const end = (name, { y, of }) => `${suiteName(name)} ${Math.round(y.at(-1) * of)} of ${of}`;
  return {
    title: "Right answers",
    unit: "ratio",
    room: 132,
    note: "Held-out examples whose whole answer the model writes, its end included.",
    lines: [
      ...shown.flatMap(([, answers]) => abandonedLines(answers, "abandoned")),
      ...shown.map(([name, answers]) => ({ label: suiteName(name), color: color(name), x: answers.x, y: answers.y, end: end(name, answers), dots: answers.x.length < 60 })),
    ],
    marks: run.attempts.map(resumeMark),
    zero: true,
    ...reach,
  };
}

function generalNote(run, isOurs) {
  if (isImported(run)) return `As named by who logged them; each is ${meaningOf(run, "eval")}.${isOurs ? " A rising line is forgetting." : ""}`;
  return "Held-out examples of other skills, with the change since step 0. A rising line is forgetting.";
}

/** Returns one of four colours; every line also has its name at its end. */
function skillColor(name, skills) {
  const colors = ["--series-3", "--series-5", "--series-6", "--series-1"];
  return colors[skills.findIndex(([other]) => other === name) % colors.length];
}

function suiteName(name) {
  return suiteLabel(name).toLowerCase();
}

function suiteLine(label, scores, color, look) {
  return { label, color, x: scores.x, y: scores.y, end: `${label} ${formatDelta(scores.delta.at(-1))}`, ...look };
}

function abandonedLines(points, label) {
  const old = points?.old ?? [];
  return old.map(({ x, y }) => ({ label, color: "--ink-3", faint: true, end: "", x, y }));
}

function marksOf(run) {
  const bad = run.nonFinite === null ? [] : [{ x: run.nonFinite, label: "NaN or infinite", bad: true }];
  return [...run.attempts.map(resumeMark), ...bad];
}

function resumeMark({ fromStep }) {
  return { x: fromStep, label: "resumed" };
}

const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];

/**
 * Returns the charts of measured series, as the schema groups them: of the optimizer, the experts, the machine, its GPUs.
 * @param {Run} run
 * @param {object} reach of the step axis: {of, lastStep, planned}
 * @returns {Record<string, import("./chart.js").Chart | null>} by title; null where the log has no such series
 */
function seriesCharts(run, reach) {
  const charts = [...chartMetrics()].map(([title, metrics]) => {
    const named = metrics.flatMap((metric) => [[metric.name, metric.label], ...gpuSeries(run, metric.name)]);
    return [title, makeChart(run, title, named, reach)];
  });
  return Object.fromEntries(charts);
}

/** @returns {[string, string][]} the series of each GPU, and its label */
function gpuSeries({ series }, name) {
  const found = Object.keys(series).filter((other) => other.startsWith(`${name}/`));
  const numbered = found.map((other) => [other, Number(other.slice(name.length + 1))]);
  return numbered.sort((a, b) => a[1] - b[1]).map(([other, number]) => [other, `GPU ${number}`]);
}

function makeChart(run, title, named, reach) {
  const present = named.filter(([name]) => run.series[name]?.x.length);
  if (present.length === 0) return null;
  const metrics = present.map(([name]) => metricOf(name));
  const values = present.flatMap(([name]) => run.series[name].y);
  const [size, shown] = sizeOf(metrics[0].unit, values);
  const isAlone = present.length === 1;
  const lines = present.map(([name, label], index) => {
    const { x, y } = run.series[name];
    const color = COLORS[index % COLORS.length];
    return { label, color, x, y: size === 1 ? y : y.map((value) => value / size), end: isAlone ? "" : undefined };
  });
  const note = isImported(run) ? "As it was logged." : [...new Set(metrics.map(({ meaning }) => meaning))].join(" ");
  const room = isAlone ? 24 : 112;
  return { title, unit: shown, room, note, lines, zero: true, ...reach };
}

/** Returns the unit in which values are drawn, and its size. @returns {[number, string]} */
function sizeOf(unit, values) {
  if (unit === "ratio") return [0.01, "%"];
  if (unit !== "bytes") return [1, unit];
  return binaryUnit(values.filter(Number.isFinite).reduce((a, b) => Math.max(a, b), 0));
}

const DECAY = 0.9; // averages about the last ten steps

/**
 * Returns the exponential moving average with bias correction (Kingma and Ba, "Adam", section 3).
 * @param {number[]} values
 * @returns {number[]} as many; values that are not finite are skipped, and returned unchanged
 */
export function smoothed(values) {
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    mean = DECAY * mean + (1 - DECAY) * value;
    share = DECAY * share + (1 - DECAY);
    return mean / share;
  });
}
