/**
 * The state of a run: a fold over its events, the same for a live run, a recording and a file. No clock, no DOM. No number
 * that a reader sees is computed here: values are copied from events; only lines, gaps, repetitions and seconds are
 * counted.
 */

import { accept, newOrder } from "../schema/event-log.js";
import { metricOf, schema } from "../schema/schema.js";

const SERIES_LIMIT = 256; // names; our schema has far fewer
const ALERT_LIMIT = 200;
const REFUSAL_LIMIT = 5; // reasons that are shown
const ATTEMPT_LIMIT = 256;
const SAMPLE_LIMIT = 64;
const ANSWER_LIMIT = 20;
const BLEND_LIMIT = 8; // of one model
const POINT_LIMIT = 512; // of one blend

/**
 * @typedef {{x: number[], y: number[]}} Points x: optimizer steps; y may hold NaN and ±Infinity
 * @typedef {Points & {old: Points[]}} Series `old`: what each resume discarded
 * @typedef {{x: number[], y: number[], delta: number[], baseline: number, old: Points[]}} Suite
 */

/** The state before the first event. Plain data, so that it can be copied and printed. */
export function emptyRun() {
  return {
    run: "",
    version: 0, // of the format, the newest in the log
    lastSeq: -1,
    step: 0,
    status: "waiting", // running · finished · stopped · failed · oom, once there are events
    events: 0,
    gaps: 0, // sequence numbers that never came
    duplicates: 0, // events that were repeated, and left out
    unknownKinds: 0, // events of a kind this page does not know
    unknownFields: 0, // fields of events that this page does not know
    skippedLines: 0, // lines that were damaged, and one without its end
    refusedLines: 0, // of a wrong shape, type, length or order
    refusals: [], // why, of the first few
    order: newOrder(),
    unknownSeries: 0, // values beyond SERIES_LIMIT names
    droppedSamples: 0, // beyond SAMPLE_LIMIT prompts
    firstTime: 0, // Unix seconds
    lastTime: 0,
    time: newTime(),
    clock: newSeries(), // seconds elapsed at each step
    start: null,
    plan: { steps: 0, x: [], lr: [] },
    series: table(),
    evals: table(),
    right: table(), // by set: the share of rows that were answered exactly, of `of` rows
    ends: table(), // by set, at each of these evaluations: how many rows are right but do not stop
    memory: { predicted: table(), measured: table(), peakInstant: "", peakBytes: 0 },
    drift: { x: [], total: [], layers: table(), earlier: [] }, // layers: the newest of `earlier`
    rows: null, // the examples that are trained, as far as they are logged
    samples: [],
    answers: [], // the newest of those that somebody asked for: {prompt, asked, step, before, after}
    blends: [], // of the trained model with the one before, once it was: {how, chosen, reason, points}
    alerts: [],
    alertCount: 0,
    checkpoint: null,
    attempts: [],
    nonFinite: null, // the first step whose training loss was NaN or infinite
    beat: null, // {time, expectNextIn, paused, heard, doing, done}: the newest heartbeat, the newest command that was obeyed
    end: null,
  };
}

/** Returns an object without a prototype: a log may name a series "constructor". */
function table() {
  return Object.create(null);
}

/**
 * Folds one event into `run` and returns `run`. Events arrive in the order of the log; a repeated sequence number is
 * counted and left out, an event that is out of order is refused.
 * @param {ReturnType<typeof emptyRun>} run changed in place
 * @param {import("./log-reader.js").Line} event as `parseEvent` returns it
 */
export function fold(run, event) {
  const problem = event.refused ?? accept(run.order, event);
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
  run.version = Math.max(run.version, event.v);
  run.run = run.run || String(event.run);
  run.firstTime = run.firstTime || event.t;
  run.lastTime = event.t;
  run.step = event.step ?? run.step;
  if (run.status === "waiting") run.status = "running";
  if (Object.hasOwn(FOLDS, event.kind)) FOLDS[event.kind](run, event);
  else run.unknownKinds += 1;
  takeTime(run, event);
  if (event.kind === "metrics") takeClock(run);
  return run;
}

const FOLDS = {
  "run.start": takeStart,
  predicted: takePredicted,
  metrics: takeMetrics,
  sys: takeMetrics,
  mem: takeMemory,
  eval: takeEval,
  drift: takeDrift,
  rows: takeRows,
  sample: takeSample,
  answer: takeAnswer,
  checkpoint: (run, { step, path, bytes }) => (run.checkpoint = { step, path, bytes }),
  alert: takeAlert,
  beat: takeBeat,
  "run.resume": takeResume,
  blend: takeBlend,
  "run.end": takeEnd,
};

/** "NaN", "Infinity" and "-Infinity" travel as strings, because JSON has no such numbers. */
function number(value) {
  return typeof value === "string" ? Number(value) : value;
}

function takeMetrics(run, { step = run.step, m, meanings }) {
  if (meanings && run.start) Object.assign(run.start.meanings, meanings);
  for (const name of Object.keys(m ?? {})) {
    const series = seriesNamed(run, run.series, name, newSeries);
    if (!series) continue;
    const value = number(m[name]);
    series.x.push(step);
    series.y.push(value);
    if (name === "train/loss" && run.nonFinite === null && !Number.isFinite(value)) {
      run.nonFinite = step;
    }
  }
}

function takeClock({ clock, step, time }) {
  if (clock.x.at(-1) === step) return;
  clock.x.push(step);
  clock.y.push(time.elapsed);
}

function newSeries() {
  return { x: [], y: [], old: [] };
}

function newRight() {
  return { x: [], y: [], of: 0, within: null, old: [] }; // within: the interval of the newest share
}

function newSuite() {
  return { x: [], y: [], delta: [], rows: [], baseline: NaN, old: [], examples: "", change: null }; // rows: the loss of each example, if logged; examples: their fingerprint; change: the interval of the newest loss over the first
}

/** Returns the series of a name, created if there is room for it; else null, and it is counted. */
function seriesNamed(run, names, name, make) {
  if (names[name]) return names[name];
  if (Object.keys(names).length < SERIES_LIMIT) return (names[name] = make());
  run.unknownSeries += 1;
  return null;
}

function takeEval(run, event) {
  const suite = seriesNamed(run, run.evals, event.suite, newSuite);
  if (!suite) return;
  const { examples = "" } = event;
  if (suite.examples && examples && suite.examples !== examples) leaveOtherExamples(run, event.suite);
  suite.examples = examples;
  suite.x.push(event.step);
  suite.y.push(number(event.loss));
  suite.delta.push(number(event.delta));
  suite.baseline = number(event.baseline);
  suite.rows.push(event.row_losses?.map(number) ?? null);
  suite.change = intervalOf(event.change);
  if (event.exact?.of) takeRight(run, seriesNamed(run, run.right, event.suite, newRight), event);
}

/** What a set scored on other examples is not joined with what it scores from here on. */
function leaveOtherExamples({ evals, right, ends }, suite) {
  for (const points of [evals[suite], right[suite]]) if (points) moveToOld(points, -1);
  if (ends[suite]) ends[suite].length = 0;
}

function takeRight(run, answers, { suite, step, exact: { right, of, does_not_stop: endless = 0, interval } }) {
  if (!answers) return;
  answers.x.push(step);
  answers.y.push(right / of);
  answers.of = of;
  answers.within = intervalOf(interval);
  (run.ends[suite] ??= []).push(endless);
}

function intervalOf(ends) {
  return ends?.length === 2 ? ends.map(number) : null;
}

function takeDrift(run, { step, total, layers }) {
  run.drift.x.push(step);
  run.drift.total.push(number(total));
  run.drift.layers = Object.assign(table(), layers);
  run.drift.earlier.push(run.drift.layers);
}

function takeSample(run, { prompt, text, when }) {
  let sample = run.samples.find((other) => other.prompt === prompt);
  if (!sample && run.samples.length === SAMPLE_LIMIT) return void (run.droppedSamples += 1);
  if (!sample) run.samples.push((sample = { prompt, before: null, after: null }));
  sample[when === "before" ? "before" : "after"] = text;
}

function takeAnswer(run, { prompt, asked = 0, step, before = null, after }) {
  run.answers.push({ prompt, asked, step, before, after });
  if (run.answers.length > ANSWER_LIMIT) run.answers.shift();
}

/** A blend is some events; a new one made in the same way replaces the old one. */
function takeBlend(run, { how, chosen = null, reason = "", points, begins }) {
  if (begins) run.blends = run.blends.filter((blend) => blend.how !== how).slice(1 - BLEND_LIMIT);
  let blend = run.blends.find((one) => one.how === how);
  if (!blend && run.blends.length === BLEND_LIMIT) return;
  if (!blend) run.blends.push((blend = { how, points: [] }));
  Object.assign(blend, { chosen, reason });
  blend.points.push(...points.slice(0, POINT_LIMIT - blend.points.length));
}

function takeAlert(run, { level = "info", text, step, t }) {
  run.alertCount += 1;
  run.alerts.push({ level, text, step, time: t });
  if (run.alerts.length > ALERT_LIMIT) run.alerts.shift();
}

function takeBeat(run, { t, expect_next_in: expectNextIn, paused, heard, doing, done }) {
  run.beat = { time: t, expectNextIn, paused: paused === true, heard: heard ?? 0, doing: doing ?? "", done: done ?? 0 };
}

/** A new attempt starts at `from_step`; what the previous one logged beyond it is drawn faintly. */
function takeResume(run, event) {
  run.attempts.push({ attempt: event.att, fromStep: event.from_step, time: event.t });
  if (run.attempts.length > ATTEMPT_LIMIT) run.attempts.shift();
  run.status = "running";
  run.end = null;
  run.blends = []; // of a model that is trained further
  run.beat = null; // of the previous attempt
  if (event.plan) takePlan(run, event.plan); // resumed to another last step
  run.nonFinite = run.nonFinite > event.from_step ? null : run.nonFinite;
  for (const [name, { x }] of Object.entries(run.right)) {
    run.ends[name].length = x.filter((step) => step <= event.from_step).length;
  }
  for (const points of [run.series, run.evals, run.right, { clock: run.clock }].flatMap(Object.values)) {
    moveToOld(points, event.from_step);
  }
  const { x, total, earlier } = run.drift;
  x.length = total.length = earlier.length = x.filter((step) => step <= event.from_step).length;
  run.drift.layers = earlier.at(-1) ?? table();
}

function moveToOld(points, fromStep) {
  const first = points.x.findIndex((step) => step > fromStep);
  if (first < 0) return;
  points.old.push({ x: points.x.splice(first), y: points.y.splice(first) });
  points.delta?.splice(first);
  points.rows?.splice(first);
  points.change &&= null;
  points.within &&= null;
}

function takeEnd(run, { status, reason, summary, t, post_mortem: postMortem }) {
  run.status = status;
  run.end = { reason: reason ?? "", summary: summary ?? {}, time: t, postMortem: postMortem ?? null };
}

/** `run.start`: the run's settings, its planned learning rates and its predicted memory. */
function takeStart(run, event) {
  const { config, versions, hardware, model, data, recipe, plan } = event;
  run.start = {
    config,
    versions,
    hardware,
    model: model ?? {},
    data: data ?? {},
    recipe: recipe ?? {},
    bytesPerParameter: event.bytes_per_parameter ?? null,
    source: event.source ?? "",
    tool: event.tool ?? "",
    lacks: event.lacks ?? [],
    meanings: Object.assign(Object.create(null), event.meanings),
    price: event.price ?? null, // {hourly, currency, per}
    trainer: event.source === "watched" ? (event.trainer ?? "a loop of its own") : "",
    can: event.can ?? null, // commands that its loop supports; null: all
  };
  takePlan(run, plan);
  takePredicted(run, event);
}

/** `run.start`, or `predicted` where memory is predicted later: the newest one counts. */
function takePredicted(run, { predicted, bytes_per_parameter: each }) {
  if (run.start && each !== undefined) run.start.bytesPerParameter = each;
  run.memory.predicted = Object.assign(Object.create(null), predicted?.instants);
  run.memory.peakInstant = predicted?.peak_instant ?? "";
  run.memory.peakBytes = predicted?.peak_bytes ?? 0;
}

/** The number of steps and the learning rate at each: of `run.start`, or of a `run.resume` that changed them. */
function takePlan(run, plan) {
  run.plan = { steps: plan?.steps ?? 0, lr: plan?.lr ?? [], x: plan?.lr_steps ?? [] };
}

const INSTANT_LIMIT = 16; // our runner has five

/** `mem`: keeps the largest measurement of every instant, because the peak must fit. */
function takeMemory(run, { step, instant, components, total_bytes: bytes, source }) {
  const { measured } = run.memory;
  const before = measured[instant];
  if (before && before.bytes >= bytes) return;
  if (!before && Object.keys(measured).length === INSTANT_LIMIT) return void (run.unknownSeries += 1);
  measured[instant] = { step, components: components ?? {}, bytes, source };
}

/** `rows`: the examples. Fields of a later event are added to earlier ones, or replace them. */
function takeRows(run, { v, run: id, seq, att, t, rt, kind, step, cut, ...told }) {
  run.rows = { ...run.rows, ...told };
}

/** The time before the first event, in seconds. */
function newTime() {
  return {
    elapsed: 0,
    left: null, // at the pace of this attempt; null while unknown
    before: 0, // elapsed in earlier attempts
    from: null, // when this attempt began
    pace: null, // {step, t}: its first step
    paused: 0,
    pausedSince: null,
  };
}

function takeTime(run, { kind, t, step, paused }) {
  const { time } = run;
  if (!Number.isFinite(t)) return;
  if (kind === "run.resume" || time.from === null) startAttempt(time, t);
  time.elapsed = time.before + Math.max(0, t - time.from);
  if (kind === "beat") countPause(time, t, paused === true);
  if (kind === "metrics") time.pace ??= { step, t };
  time.left = secondsLeft(time, t, step, run.plan.steps);
}

function startAttempt(time, t) {
  Object.assign(time, { before: time.elapsed, from: t, pace: null, paused: 0, pausedSince: null });
}

function countPause(time, t, isPaused) {
  if (isPaused) time.pausedSince ??= t;
  else if (time.pausedSince !== null) {
    time.paused += t - time.pausedSince;
    time.pausedSince = null;
  }
}

function secondsLeft({ pace, paused, pausedSince }, t, step, steps) {
  if (!pace || !(step > pace.step) || !(steps >= step)) return null;
  const worked = (pausedSince ?? t) - pace.t - paused;
  return worked > 0 ? (worked / (step - pace.step)) * (steps - step) : null;
}

/** @typedef {ReturnType<typeof emptyRun>} Run */

/** @param {Run} run @returns {boolean} whether it was imported from the files of another tool */
export function isImported(run) {
  return run.start?.source === "imported";
}

/** @param {Run} run @param {string} health @returns {boolean} whether it is one of `train` that has ended, so that its model is there */
export function canBlend(run, health) {
  return run.events > 0 && (run.end !== null || health === "gone") && !run.start?.trainer && !isImported(run);
}

/** @param {Run} run @returns {boolean} whether it is of data alone, which nothing has been trained on */
export function isData(run) {
  return run.rows !== null && run.start === null && Object.keys(run.series).length === 0;
}

/** @param {Run} run @param {string} name of a metric @returns {string} what it is where its name does not say it, else "" */
export function meaningOf(run, name) {
  return run.start?.meanings?.[name] ?? "";
}

/** @param {Run} run @returns {string[]} series that this page has no chart for: of another tool, a loop's own, of a newer trainer */
export function otherSeries(run) {
  return Object.keys(run.series).filter((name) => metricOf(name).meaning === "");
}

/** @param {string} name @returns {string} as its tool writes it */
export function otherName(name) {
  const { other } = schema();
  return name.startsWith(other) ? name.slice(other.length) : name;
}

/** @param {Run} run @param {{x: number[]}} suite @returns {number} the step of its baseline */
export function firstStep(run, suite) {
  return isImported(run) ? suite.x[0] : 0;
}
