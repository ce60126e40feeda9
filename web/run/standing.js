/**
 * How a run stands, in two sentences: what it learned and what that cost, or where it is and where it goes. Computed from its
 * evaluations alone; a difference inside the noise of the held-out examples is not called one. Pure functions of a folded run.
 */

import { formatDelta, formatDuration, formatLoss, formatPercent } from "../figures/number.js";
import { suiteLabel } from "../schema/schema.js";
import { bootstrap, pathOf } from "./compare.js";

const MOST_OF_IT = 0.9; // of what was learned: from there on little is added
const NOTABLE = 0.05; // shares of right answers that are worth a sentence

/** @typedef {ReturnType<typeof import("./fold.js").emptyRun>} Run */

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
  if (!answers || answers.x.length < 2 || answers.y[0] - answers.y.at(-1) < NOTABLE) return "";
  const [had, has] = [answers.y[0], answers.y.at(-1)].map((share) => Math.round(share * answers.of));
  return `, but only ${has} of ${answers.of} answers are right; ${had} were`;
}

/** Returns which share of the lost answers is right but for its end. */
function endText(answers, ends) {
  if (!answers || answers.x.length < 2 || !ends) return "";
  const lost = Math.round((answers.y[0] - answers.y.at(-1)) * answers.of);
  const endless = ends.at(-1) - ends[0];
  if (lost < 1 || endless < 1) return "";
  return `; of ${lost} lost answers, ${Math.min(lost, endless)} are right but do not stop`;
}

/** Whether the newest losses of a set differ from its first ones by more than a bootstrap over its examples; unknown: yes. */
function isChanged({ rows }) {
  const [first, last] = [rows[0], rows.at(-1)];
  if (!first || !last || first.length !== last.length) return true;
  const { low, high } = bootstrap(last.map((loss, index) => loss - first[index]));
  return low > 0 || high < 0;
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
  if (best.general - last.general < NOTABLE) return null;
  const { of } = run.right.general;
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
