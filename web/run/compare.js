/**
 * What several runs have in common and where they differ: their settings, the axis they are drawn on, the frontier of what
 * they learned and kept, and whether a difference is larger than the noise of the held-out examples. Pure functions of
 * folded runs.
 */

import { meaningOf } from "./fold.js";

export const MOST_RUNS = 8;
const APART = ["runs", "out", "today", "trust_remote_code", "price", "currency", "sample_prompts", "sample_tokens"]; // settings that change no number
const RESAMPLES = 2000;
const INTERVAL = 0.95;

/** @typedef {ReturnType<typeof import("./fold.js").emptyRun>} Run */

/**
 * Returns the settings in which runs differ, as [name, value of each run]: those of the trainer, or of the planner where a log
 * has no others. A setting that a log does not name is null there, and makes no difference by itself.
 * @param {Run[]} runs
 * @returns {[string, ...(string | null)[]][]}
 */
export function differingSettings(runs) {
  const settings = runs.map(({ start }) => ({ ...(start?.config ?? start?.recipe), model: start?.model?.name ?? start?.config?.model }));
  const names = [...new Set(settings.flatMap((each) => Object.keys(each)))].filter((name) => !APART.includes(name));
  const rows = names.map((name) => [name, ...settings.map((each) => plain(each[name]))]);
  const known = (values) => new Set(values.filter((value) => value !== null));
  return rows.filter(([, ...values]) => known(values).size > 1).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Returns a setting as text; null where a log does not name it. */
function plain(value) {
  if (value === undefined) return null;
  return typeof value === "string" ? value : value === null ? "none" : JSON.stringify(value);
}

/** What the curves of runs are drawn over. */
export const AXES = { step: "Steps", tokens: "Trained tokens", seconds: "Seconds" };

/**
 * Returns what turns the steps of a run into positions on an axis; steps between two known ones stand at the earlier one.
 * @param {Run} run
 * @param {keyof typeof AXES} axis
 * @param {number} [from] the first step of an abandoned attempt, which has positions of its own
 * @returns {(steps: number[]) => number[]}
 */
export function axisOf(run, axis, from = Infinity) {
  if (axis === "step") return (steps) => steps;
  const newest = axis === "tokens" ? run.series["train/tokens"] : run.clock;
  const series = newest?.old?.findLast(({ x }) => x[0] <= from && from <= x.at(-1)) ?? newest;
  if (!series?.x.length) return (steps) => steps.map(() => NaN);
  return (steps) => {
    let at = -1;
    return steps.map((step) => {
      while (at + 1 < series.x.length && series.x[at + 1] <= step) at += 1;
      return at < 0 ? 0 : series.y[at];
    });
  };
}

/**
 * Returns a run's path over the plane: the shares of held-out rows that are right, of the task and of what it knew.
 * @param {Run} run
 * @returns {{step: number, task: number, general: number}[]} a point for each evaluation that has both
 */
export function pathOf({ right }) {
  const general = new Map(right.general?.x.map((step, index) => [step, right.general.y[index]]));
  const points = right.task?.x.map((step, index) => ({ step, task: right.task.y[index], general: general.get(step) })) ?? [];
  return points.filter((point) => point.general !== undefined);
}

/**
 * Returns what `blend` made of a run's model, over the plane: the models that have answers of both sets.
 * @param {Run} run
 * @returns {import("../plots/plane.js").Blend[]}
 */
export function blendsOf({ blends }) {
  const share = ({ exact, of } = {}) => (of ? exact / of : NaN);
  return blends
    .map(({ how, chosen, points }) => ({
      points: points
        .map(({ alpha, name = "", sets }) => ({
          name,
          alpha,
          task: share(sets.task),
          general: share(sets.general),
          isChosen: !name && alpha === chosen,
          says: [name || `α = ${alpha}${how && `, ${how}`}`, scoreText("learned", sets.task), scoreText("kept", sets.general)],
        }))
        .filter(({ task, general }) => Number.isFinite(task + general)),
    }))
    .filter(({ points }) => points.length);
}

/** Says how a set is answered, and the change since the trained model with its interval. */
export function scoreText(what, score) {
  if (!score) return "";
  const { loss, exact, of, change } = score;
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  const within = change ? `, ${signed(change.value)} [${change.interval.map(signed).join(", ")}]` : "";
  return of ? `${what} ${exact} of ${of}${within}` : `${what} ${Number(loss).toFixed(3)} nats${within}`;
}

/**
 * Returns the points that no other beats in both respects, from those that kept most to those that learned most.
 * @param {{task: number, general: number}[]} points
 */
export function frontier(points) {
  const sorted = [...points].sort((a, b) => b.general - a.general || b.task - a.task);
  let best = -1;
  return sorted.filter(({ task }) => task > best && ((best = task), true));
}

/**
 * Returns how much the mean loss of `other` lies above that of `run` on the same held-out rows, with the interval that a
 * paired bootstrap over these rows gives; null where the rows are not logged, or not the same number.
 * @param {Run} run
 * @param {Run} other
 * @param {string} suite
 * @returns {{mean: number, low: number, high: number, rows: number} | null}
 */
export function lossDifference(run, other, suite) {
  const [a, b] = [run, other].map((one) => lastRows(one, suite));
  if (!a || !b || a.length !== b.length) return null;
  return bootstrap(b.map((value, index) => value - a[index]));
}

/** Returns a warning where the losses of runs are not defined alike; "" where they are. @param {Run[]} runs */
export function meaningWarning(runs) {
  const meanings = runs.map((run) => meaningOf(run, "eval") || "a mean over tokens");
  if (new Set(meanings).size === 1) return "";
  return `Their losses are not comparable: ${meanings.map((meaning, index) => `${index + 1} is ${meaning}`).join("; ")}.`;
}

/** Returns the losses of all rows of a set at the newest evaluation; of "general", of all its skills one after the other. */
function lastRows({ evals }, suite) {
  const names = suite === "general" ? Object.keys(evals).filter((name) => name.startsWith("general/")).sort() : [suite];
  const rows = names.map((name) => evals[name]?.rows.at(-1));
  return rows.length > 0 && rows.every((each) => each?.length) ? rows.flat() : null;
}

/**
 * Returns the mean of values and the interval in which INTERVAL of the means of resampled values lie. The same values give
 * the same interval.
 * @param {number[]} values
 */
export function bootstrap(values) {
  const draw = random(values.length);
  const means = Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let n = 0; n < values.length; n += 1) sum += values[Math.floor(draw() * values.length)];
    return sum / values.length;
  }).sort((a, b) => a - b);
  const cut = Math.floor((RESAMPLES * (1 - INTERVAL)) / 2);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, low: means[cut], high: means[RESAMPLES - 1 - cut], rows: values.length };
}

/** Returns a generator of numbers from 0 to 1 (mulberry32, by Tommy Ettinger; public domain). */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
