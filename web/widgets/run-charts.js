/** The line charts of a run: which lines each one shows, how they are named, what to look at. */

import { deltaText } from "./run-number.js";
import { suiteLabel } from "./run-tables.js";

/** @typedef {ReturnType<typeof import("../run/fold.js").emptyRun>} Run */

/**
 * @param {Run} run
 * @returns {Record<string, import("./run-chart.js").Chart>}
 */
export function chartsOf(run) {
  return { loss: lossChart(run), rate: rateChart(run), evals: evalChart(run) };
}

function lossChart(run) {
  const loss = run.series["train/loss"];
  const line = { label: "training", color: "--series-1", end: "", x: loss?.x ?? [], y: loss?.y ?? [] };
  return {
    title: "Training loss",
    unit: "nats",
    room: 14,
    note: "Mean cross-entropy in nats per trainable token, of the batch of each step.",
    lines: [...ghosts(loss, "given up"), line],
    lastStep: run.plan.steps,
    marks: marksOf(run),
  };
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
    note: "Dashed: what the schedule plans. Solid: what the optimizer used.",
    lines: [
      { ...planned, end: bothDone ? "" : undefined },
      { ...used, end: bothDone ? "as planned" : undefined },
    ].filter((line) => line.x.length),
    zero: true,
    lastStep: run.plan.steps,
  };
}

function evalChart(run) {
  const suites = Object.entries(run.evals).filter(([, scores]) => scores.x.length);
  const main = suites.filter(([name]) => !name.includes("/"));
  const skills = suites.filter(([name]) => name.includes("/"));
  return {
    title: "Task and general loss",
    unit: "nats",
    room: 104,
    note: "Held-out loss on the new task and on what the model knew before; beside it the change since step 0.",
    lines: [
      ...main.flatMap(([, scores]) => ghosts(scores, "given up")),
      ...skills.map(([name, scores]) => suiteLine(name, scores, { faint: true })),
      ...main.map(([name, scores]) => suiteLine(name, scores, { dots: scores.x.length < 40 })),
    ],
    lastStep: run.plan.steps,
    marks: run.attempts.map(resumeMark),
  };
}

function suiteLine(name, scores, look) {
  const label = suiteLabel(name).toLowerCase();
  const color = look.faint ? "--ink-3" : name === "task" ? "--series-1" : "--series-2";
  return { label, color, x: scores.x, y: scores.y, end: `${label} ${deltaText(scores.delta.at(-1))}`, ...look };
}

function ghosts(points, label) {
  const old = points?.old ?? [];
  return old.map(({ x, y }) => ({ label, color: "--ink-3", faint: true, end: "", x, y }));
}

function marksOf(run) {
  const bad = run.nonFinite === null ? [] : [{ x: run.nonFinite, label: "not a number", bad: true }];
  return [...run.attempts.map(resumeMark), ...bad];
}

function resumeMark({ fromStep }) {
  return { x: fromStep, label: "resumed" };
}
