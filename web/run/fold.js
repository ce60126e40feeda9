/**
 * A run as the page knows it: the fold of its events, the same for a live run, a recording and a
 * file from another machine. No clock, no DOM. Nothing here computes a number a reader sees: values
 * are copied out of events; only lines, gaps and repetitions are counted, and seconds.
 */

import { accept, newOrder } from "../schema/event-log.js";
import { schema } from "../schema/schema.js";

export const SERIES_LIMIT = 256; // names; more than our schema has by far
export const ALERT_LIMIT = 200;
export const REFUSAL_LIMIT = 5; // reasons that are shown
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
    rows: null, // what is trained, as far as the log has it
    samples: [],
    alerts: [],
    alertCount: 0,
    checkpoint: null,
    attempts: [],
    nonFinite: null, // the first step whose training loss was NaN or infinite
    beat: null, // {time, expectNextIn, paused, heard}: the trainer's last promise, and the newest command it obeyed
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
 * @param {import("./log-lines.js").Line} event a line as `parseEvent` gives it
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
    const series = seriesNamed(run, run.series, name, newSeries);
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
function seriesNamed(run, names, name, make) {
  if (names[name]) return names[name];
  if (Object.keys(names).length < SERIES_LIMIT) return (names[name] = make());
  run.unknownSeries += 1;
  return null;
}

function takeEval(run, event) {
  const suite = seriesNamed(run, run.evals, event.suite, newSuite);
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

/** `run.start`: the head of the run, its planned learning rates and its predicted memory. */
export function takeStart(run, event) {
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
    can: event.can ?? null, // what may be asked of it; null: everything
  };
  takePlan(run, plan);
  takePredicted(run, event);
}

/** `run.start`, or `predicted` where it is known later: the newest one counts. */
export function takePredicted(run, { predicted, bytes_per_parameter: each }) {
  if (run.start && each !== undefined) run.start.bytesPerParameter = each;
  run.memory.predicted = Object.assign(Object.create(null), predicted?.instants);
  run.memory.peakInstant = predicted?.peak_instant ?? "";
  run.memory.peakBytes = predicted?.peak_bytes ?? 0;
}

/** How many steps, and the rate at each: of `run.start`, or of a `run.resume` that changed them. */
export function takePlan(run, plan) {
  run.plan = { steps: plan?.steps ?? 0, lr: plan?.lr ?? [], x: plan?.lr_steps ?? [] };
}

const INSTANT_LIMIT = 16; // a step of ours has five

/** `mem`: of every instant the largest measurement is kept, as the peak is what must fit. */
export function takeMemory(run, { step, instant, components, total_bytes: bytes, source }) {
  const { measured } = run.memory;
  const before = measured[instant];
  if (before && before.bytes >= bytes) return;
  if (!before && Object.keys(measured).length === INSTANT_LIMIT) return void (run.unknownSeries += 1);
  measured[instant] = { step, components: components ?? {}, bytes, source };
}

const OF_ROWS = "how counts trained_ratio repeated_first notes ends lengths padding first scored".split(" ");

/** `rows`: what is trained. Fields of a later event are added to those of earlier ones, or replace them. */
export function takeRows(run, event) {
  const fields = OF_ROWS.filter((name) => event[name] !== undefined).map((name) => [name, event[name]]);
  run.rows = { ...run.rows, ...Object.fromEntries(fields) };
}

/** @typedef {ReturnType<typeof newTime>} RunTime */

/** The state before the first event; seconds. */
export function newTime() {
  return {
    elapsed: 0,
    left: null, // at the pace of this attempt; null while nothing can be told
    before: 0, // elapsed in earlier attempts
    from: null, // when this attempt began
    pace: null, // {step, t}: its first step
    held: 0, // of that on request
    heldSince: null,
  };
}

/**
 * Takes the time of one event.
 * @param {ReturnType<typeof emptyRun>} run
 */
export function takeTime(run, { kind, t, step, paused }) {
  const { time } = run;
  if (!Number.isFinite(t)) return;
  if (kind === "run.resume" || time.from === null) begin(time, t);
  time.elapsed = time.before + Math.max(0, t - time.from);
  if (kind === "beat") hold(time, t, paused === true);
  if (kind === "metrics") time.pace ??= { step, t };
  time.left = leftOf(time, t, step, run.plan.steps);
}

function begin(time, t) {
  Object.assign(time, { before: time.elapsed, from: t, pace: null, held: 0, heldSince: null });
}

function hold(time, t, paused) {
  if (paused) time.heldSince ??= t;
  else if (time.heldSince !== null) {
    time.held += t - time.heldSince;
    time.heldSince = null;
  }
}

function leftOf({ pace, held, heldSince }, t, step, steps) {
  if (!pace || !(step > pace.step) || !(steps >= step)) return null;
  const worked = (heldSince ?? t) - pace.t - held;
  return worked > 0 ? (worked / (step - pace.step)) * (steps - step) : null;
}

/** @typedef {ReturnType<typeof emptyRun>} Run */

/** @param {Run} run @returns {boolean} whether another tool's files are all there is of it */
export function isImported(run) {
  return run.start?.source === "imported";
}

/** @param {Run} run @param {string} name of a number @returns {string} how it was taken, where not as ours are */
export function meaningOf(run, name) {
  return run.start?.meanings?.[name] ?? "";
}

/** @param {Run} run @returns {string[]} series under the names that its tool gave them */
export function otherSeries(run) {
  return Object.keys(run.series).filter((name) => name.startsWith(schema().other));
}

/** @param {string} name @returns {string} as its tool has it */
export function otherName(name) {
  return name.slice(schema().other.length);
}

/** @param {Run} run @param {{x: number[]}} suite @returns {number} the step from which its change counts */
export function firstStep(run, suite) {
  return isImported(run) ? suite.x[0] : 0;
}
