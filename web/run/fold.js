/**
 * A run as the page knows it: the fold of its events, the same for a live run, a recording and a
 * file from another machine. No clock, no DOM. Nothing here computes a number a reader sees: values
 * are copied out of events; only lines, gaps and repetitions are counted, and seconds (`fold-time.js`).
 */

import { judge, newOrder } from "../frontier/log.js";
import { takeMemory, takePlan, takePredicted, takeRows, takeStart } from "./fold-start.js";
import { newTime, takeTime } from "./fold-time.js";

export const SERIES_LIMIT = 256; // names; more than our schema has by far
export const ALERT_LIMIT = 200;
export const REFUSAL_LIMIT = 5; // reasons that are told
const ATTEMPT_LIMIT = 256;
const SAMPLE_LIMIT = 64;

/**
 * @typedef {{x: number[], y: number[]}} Points x: optimizer steps; y may hold NaN and ±Infinity
 * @typedef {Points & {old: Points[]}} Series `old`: what a resume threw away, attempt by attempt
 * @typedef {{x: number[], y: number[], delta: number[], baseline: number, old: Points[]}} Suite
 */

/** The state before the first event. Plain data, so that it can be copied and printed. */
export function emptyRun() {
  return {
    run: "",
    lastSeq: -1,
    step: 0,
    status: "waiting", // running · finished · stopped · failed · oom, once there are events
    events: 0,
    gaps: 0, // sequence numbers that never came
    duplicates: 0, // events that came again and were left out
    unknownKinds: 0, // events of a kind this page does not know
    unknownFields: 0, // fields of events that this page does not know
    skippedLines: 0, // lines that were damaged, and one without its end
    refusedLines: 0, // lines that are no event of this run: wrong in shape, type, length or order
    refusals: [], // why, of the first few
    order: newOrder(),
    unknownSeries: 0, // values beyond SERIES_LIMIT names
    unheldSamples: 0, // beyond SAMPLE_LIMIT prompts
    firstTime: 0, // Unix seconds
    lastTime: 0,
    time: newTime(),
    start: null,
    plan: { steps: 0, x: [], lr: [] },
    series: table(),
    evals: table(),
    memory: { predicted: table(), measured: table(), peakInstant: "", peakBytes: 0 },
    drift: { x: [], total: [], layers: table(), earlier: [] }, // layers: the newest of `earlier`
    rows: null, // what is trained, as far as the log tells
    samples: [],
    alerts: [],
    alertCount: 0,
    checkpoint: null,
    attempts: [],
    nonFinite: null, // the first step whose training loss was NaN or infinite
    beat: null, // {time, expectNextIn, paused, heard}: the trainer's last promise, and what it obeyed
    end: null,
  };
}

/** A log may name a series "constructor": names are looked up in tables that inherit nothing. */
function table() {
  return Object.create(null);
}

/**
 * Takes one event into `run` and returns it. Events arrive in the order of the log; one whose
 * sequence number was seen already is counted and left out, one that cannot come now is refused.
 * @param {ReturnType<typeof emptyRun>} run changed in place
 * @param {import("./line.js").Line} event a line as `parseEvent` gives it
 */
export function fold(run, event) {
  const problem = event.refused ?? judge(run.order, event);
  if (problem) {
    run.refusedLines += 1;
    if (run.refusals.length < REFUSAL_LIMIT) run.refusals.push(problem);
    return run;
  }
  run.unknownFields += event.unknown ?? 0;
  if (event.seq <= run.lastSeq) {
    run.duplicates += 1;
    return run;
  }
  run.gaps += event.seq - run.lastSeq - 1;
  run.lastSeq = event.seq;
  run.events += 1;
  run.run = run.run || String(event.run);
  run.firstTime = run.firstTime || event.t;
  run.lastTime = event.t;
  run.step = event.step ?? run.step;
  if (run.status === "waiting") run.status = "running";
  if (Object.hasOwn(TAKES, event.kind)) TAKES[event.kind](run, event);
  else run.unknownKinds += 1;
  takeTime(run, event);
  return run;
}

const TAKES = {
  "run.start": takeStart,
  predicted: takePredicted,
  metrics: takeMetrics,
  sys: takeMetrics,
  mem: takeMemory,
  eval: takeEval,
  drift: takeDrift,
  rows: takeRows,
  sample: takeSample,
  checkpoint: (run, { step, path, bytes }) => (run.checkpoint = { step, path, bytes }),
  alert: takeAlert,
  beat: takeBeat,
  "run.resume": takeResume,
  "run.end": takeEnd,
};

/** "NaN", "Infinity" and "-Infinity" travel as strings, because JSON has no such numbers. */
function number(value) {
  return typeof value === "string" ? Number(value) : value;
}

function takeMetrics(run, { step = run.step, m }) {
  for (const [name, value] of Object.entries(m ?? {})) {
    const series = held(run, run.series, name, newSeries);
    if (!series) continue;
    series.x.push(step);
    series.y.push(number(value));
    if (name === "train/loss" && run.nonFinite === null && !Number.isFinite(number(value))) {
      run.nonFinite = step;
    }
  }
}

function newSeries() {
  return { x: [], y: [], old: [] };
}

function newSuite() {
  return { x: [], y: [], delta: [], baseline: NaN, old: [] };
}

/** What stands under a name, made if there is room for one more; else null, and it is counted. */
function held(run, names, name, make) {
  if (names[name]) return names[name];
  if (Object.keys(names).length < SERIES_LIMIT) return (names[name] = make());
  run.unknownSeries += 1;
  return null;
}

function takeEval(run, event) {
  const suite = held(run, run.evals, event.suite, newSuite);
  if (!suite) return;
  suite.x.push(event.step);
  suite.y.push(number(event.loss));
  suite.delta.push(number(event.delta));
  suite.baseline = number(event.baseline);
}

function takeDrift(run, { step, total, layers }) {
  run.drift.x.push(step);
  run.drift.total.push(number(total));
  run.drift.layers = Object.assign(table(), layers);
  run.drift.earlier.push(run.drift.layers);
}

function takeSample(run, { prompt, text, when }) {
  let sample = run.samples.find((other) => other.prompt === prompt);
  if (!sample && run.samples.length === SAMPLE_LIMIT) return void (run.unheldSamples += 1);
  if (!sample) run.samples.push((sample = { prompt, before: null, after: null }));
  sample[when === "before" ? "before" : "after"] = text;
}

function takeAlert(run, { level = "info", text, step, t }) {
  run.alertCount += 1;
  run.alerts.push({ level, text, step, time: t });
  if (run.alerts.length > ALERT_LIMIT) run.alerts.shift();
}

/** `heard` is the number of the newest command from a page that the trainer has obeyed. */
function takeBeat(run, { t, expect_next_in: expectNextIn, paused, heard }) {
  run.beat = { time: t, expectNextIn, paused: paused === true, heard: heard ?? 0 };
}

/** The new attempt starts at `from_step`; what the old one reached beyond it stays as a ghost. */
function takeResume(run, event) {
  run.attempts.push({ attempt: event.att, fromStep: event.from_step, time: event.t });
  if (run.attempts.length > ATTEMPT_LIMIT) run.attempts.shift();
  run.status = "running";
  run.end = null;
  run.beat = null; // what the old attempt was doing
  if (event.plan) takePlan(run, event.plan); // resumed to another last step
  run.nonFinite = run.nonFinite > event.from_step ? null : run.nonFinite;
  for (const points of [...Object.values(run.series), ...Object.values(run.evals)]) {
    setAside(points, event.from_step);
  }
  const { x, total, earlier } = run.drift;
  x.length = total.length = earlier.length = x.filter((step) => step <= event.from_step).length;
  run.drift.layers = earlier.at(-1) ?? table();
}

function setAside(points, fromStep) {
  const kept = points.x.findIndex((step) => step > fromStep);
  if (kept < 0) return;
  points.old.push({ x: points.x.splice(kept), y: points.y.splice(kept) });
  points.delta?.splice(kept);
}

function takeEnd(run, { status, reason, summary, t, post_mortem: postMortem }) {
  run.status = status;
  run.end = { reason: reason ?? "", summary: summary ?? {}, time: t, postMortem: postMortem ?? null };
}
