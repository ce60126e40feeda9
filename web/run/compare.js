/**
 * What evaluations say of one run, in two sentences, and of several: the settings in which they differ, the axis they are drawn
 * on, the frontier of what they learned and kept. A difference inside the noise of the held-out examples is not called one.
 * Pure functions of folded runs.
 */

import { formatDelta, formatDuration, formatLoss, formatPercent } from "../figures/number.js";
import { suiteLabel } from "../schema/schema.js";
import { meaningOf } from "./fold.js";

export const MOST_RUNS = 8;
const APART = ["runs", "out", "today", "trust_remote_code", "price", "currency", "sample_prompts", "sample_tokens"]; // settings that change no number
const MOST_OF_IT = 0.9; // of what was learned: from there on little is added
const NOTABLE = 0.05; // shares of right answers that are worth a sentence
const FEWEST = 6; // rows: fewer may have changed by chance, though all in one way (a sign test at 5%)

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

/** Returns the intervals of a path's last point; null where a log has none. @param {Run} run */
export function withinOf({ right: { task, general } }) {
  return task.within && general.within && { task: task.within, general: general.within };
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
  const within = change ? `, ${formatDelta(change.value)} (${change.interval.map(formatDelta).join(" to ")})` : "";
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
 * Returns the losses of the same held-out rows of two runs at their newest evaluations; null where not both log them, all
 * finite, and the fingerprint of the same examples.
 * @param {Run} run
 * @param {Run} other
 * @param {string} suite
 * @returns {[number[], number[]] | null}
 */
export function pairedLosses(run, other, suite) {
  const rows = areSame([run, other], suite) ? [lastRows(run, suite), lastRows(other, suite)] : [];
  return rows[0]?.length === rows[1]?.length && rows[0]?.concat(rows[1]).every(Number.isFinite) ? rows : null;
}

/**
 * Returns whether runs scored the same examples of a set at their newest evaluation; null where a log does not tell.
 * @param {Run[]} runs
 * @param {string} suite
 */
export function areSame(runs, suite) {
  const known = runs.map(({ evals }) => evals[suite]?.examples);
  if (new Set(known.filter(Boolean)).size > 1) return false;
  return known.every(Boolean) || null;
}

/** Says of which sets runs did not score the same examples, or not as far as their logs tell; "" for none. @param {Run[]} runs */
export function examplesWarning(runs) {
  const sets = ["task", "general"].filter((suite) => runs.filter(({ evals }) => evals[suite]?.x.length).length > 1);
  const named = (known) => sets.filter((suite) => areSame(runs.filter(({ evals }) => evals[suite]?.x.length), suite) === known);
  const nameOf = (suite) => (suite === "task" ? "of the task" : "of what it knew before");
  const text = (suites, says) => suites.length > 0 && `The held-out examples ${suites.map(nameOf).join(" and ")} ${says}`;
  const other = text(named(false), "are not the same in these runs: their losses and shares are of different questions.");
  const unknown = text(named(null), "may differ between these runs: not every log has a fingerprint of them.");
  return [other, unknown].filter(Boolean).join(" ");
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

// ── how a run stands: what it learned and what that cost, or where it is and where it goes ───

/** @param {Run} run @param {boolean} goesOn whether more steps are to come @returns {string} "" while nothing is known */
export function standingText(run, goesOn) {
  const sentences = [learnedText(run), lostText(run), goesOn ? aheadText(run) : (betterText(run) ?? peakText(run))];
  return sentences.filter(Boolean).join(" ");
}

/** Says what was learned, and by which step most of it. */
function learnedText({ evals, right }) {
  const task = evals.task;
  if (!task || task.x.length < 2) return "";
  const [first, last] = [task.y[0], task.y.at(-1)];
  const answers = right.task?.x.length > 1 ? `, ${countText(right.task)}` : "";
  if (!isChanged(task)) return `No change on the task that its held-out examples show (${formatDelta(last - first)} nats)${answers}.`;
  if (last > first) return `The task got worse, by ${formatLoss(last - first)} nats${answers}.`;
  const most = task.y.findIndex((loss) => first - loss >= MOST_OF_IT * (first - last));
  const when = most < task.x.length - 1 ? `${formatPercent(MOST_OF_IT)} of it by step ${task.x[most]}` : "and still falling";
  return `Learned ${formatLoss(first - last)} nats of the task, ${when}${answers}.`;
}

function countText({ y, of }) {
  return `${Math.round(y.at(-1) * of)} of ${of} answers right`;
}

/** Says what was lost of what the model knew, where most, and how much of it only does not stop any more. */
function lostText({ evals, right, ends }) {
  const general = evals.general;
  if (!general || general.x.length < 2) return "";
  const skills = Object.keys(evals).filter((name) => name.startsWith("general/"));
  const change = general.y.at(-1) - general.y[0];
  const isLost = skills.length ? skills.some((name) => isChanged(evals[name])) : isChanged(general);
  const answers = lostAnswersText(right.general) + endText(right.general, ends.general);
  if (!isLost && answers) return `The loss on what it knew before has not changed (${formatDelta(change)} nats)${answers}.`;
  if (!isLost) return `What it knew before has not changed as far as its examples show (${formatDelta(change)} nats).`;
  if (change <= 0) return `The loss on what it knew before fell by ${formatLoss(-change)} nats${answers}.`;
  const worst = skills.map((name) => [name, evals[name].y.at(-1) - evals[name].y[0]]).sort((a, b) => b[1] - a[1])[0];
  const where = skills.length > 1 ? `, most in ${suiteLabel(worst[0]).toLowerCase()} (${formatDelta(worst[1])})` : "";
  return `Lost ${formatLoss(change)} nats of what it knew${where}${endText(right.general, ends.general)}.`;
}

/** Returns how many answers are right no more, although the loss does not say so. */
function lostAnswersText(answers) {
  if (!answers || answers.x.length < 2 || !isNotable(answers.y[0] - answers.y.at(-1), answers.of)) return "";
  const [had, has] = [answers.y[0], answers.y.at(-1)].map((share) => Math.round(share * answers.of));
  return `, but only ${has} of ${answers.of} answers are right; ${had} were`;
}

function isNotable(share, rows) {
  return share >= NOTABLE && Math.round(share * rows) >= FEWEST;
}

/** Returns which share of the lost answers is right but for its end. */
function endText(answers, ends) {
  if (!answers || answers.x.length < 2 || !ends) return "";
  const lost = Math.round((answers.y[0] - answers.y.at(-1)) * answers.of);
  const endless = ends.at(-1) - ends[0];
  if (lost < 1 || endless < 1) return "";
  return `; of ${lost} lost answers, ${Math.min(lost, endless)} are right but do not stop`;
}

/** Whether the loss of a set has changed by more than the noise of its examples; unknown: yes. */
function isChanged({ change }) {
  return !change || change[0] > 0 || change[1] < 0;
}

/** Says where the run is and when it ends. */
function aheadText({ step, plan, time }) {
  if (!plan.steps) return "";
  const left = time.left === null ? "" : `, about ${formatDuration(time.left)} left`;
  return `Step ${step} of ${plan.steps}${left}.`;
}

/** Names an earlier evaluation that had learned nearly as much and kept notably more; null for none. */
function betterText(run) {
  const path = pathOf(run);
  const last = path.at(-1);
  const gain = last && last.task - path[0].task;
  if (!last || gain <= 0) return null;
  const near = path.filter(({ task }) => task - path[0].task >= MOST_OF_IT * gain);
  const best = near.reduce((a, b) => (b.general > a.general ? b : a));
  const { of } = run.right.general;
  if (!isNotable(best.general - last.general, of)) return null;
  return `Step ${best.step} had learned ${formatPercent((best.task - path[0].task) / gain)} of it and kept ${Math.round((best.general - last.general) * of)} more of ${of} answers.`;
}

/** Says how far the measured peak of memory lies from the predicted one. */
function peakText({ memory }) {
  const measured = Object.values(memory.measured).map(({ bytes }) => bytes);
  if (measured.length === 0 || !memory.peakBytes) return "";
  const error = Math.max(...measured) / memory.peakBytes - 1;
  const size = Math.abs(error) < 0.0005 ? "as predicted" : `${formatPercent(Math.abs(error))} ${error < 0 ? "below" : "above"} the prediction`;
  return `Peak memory ${size}.`;
}
