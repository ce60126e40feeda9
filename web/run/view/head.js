/** The head of a run: its model, progress, speed and newest values, and its notice. */

import { h } from "../../figures/vnode.js";
import { firstStep, isImported, meaningOf } from "../fold.js";
import { formatBytes, formatCount, formatDelta, formatDuration, formatLoss, formatMetric, formatMoney } from "../../figures/number.js";
import { standingText } from "../compare.js";
import { spellCommand } from "../command-line.js";
import { factMetrics } from "../../schema/schema.js";

/**
 * @param {ReturnType<typeof import("../fold.js").emptyRun>} run
 * @param {boolean} [goesOn] whether more steps are to come
 * @param {boolean} [isFigure] whether only the facts of the first line are shown
 * @returns {import("../../figures/vnode.js").VNode}
 */
export function headView(run, goesOn = false, isFigure = false) {
  return h("div", { class: "run-head" }, titleView(run), progressView(run, goesOn), standingView(run, goesOn), factsView(run, isFigure));
}

function standingView(run, goesOn) {
  const text = standingText(run, goesOn);
  return text && h("p", { class: "run-standing" }, text);
}

function titleView(run) {
  const model = run.start?.model ?? {};
  const parts = [
    run.start?.trainer && `watched: ${run.start.trainer}`,
    model.num_parameters && `${formatCount(model.num_parameters)} parameters${isImported(run) ? "" : `, ${trainedText(model)}`}`,
    run.start?.data.train_rows && `${formatCount(run.start.data.train_rows)} examples`,
    run.start?.hardware?.device && String(run.start.hardware.device).replace(/^cpu$/, "CPU"),
    isImported(run) && `logged by ${run.start.tool}`,
  ].filter(Boolean);
  return h(
    "div",
    { class: "row run-title" },
    h("h3", { class: "run-model" }, model.name ? String(model.name) : "A training run"),
    parts.length > 0 && h("p", { class: "run-facts faint numeric" }, parts.join(" · ")),
  );
}

/** Returns how many parameters are trained; a log without `num_trained` is of a full fine-tune. */
function trainedText({ num_parameters: all, num_trained: trained = all }) {
  return `${trained < all ? formatCount(trained) : "all"} of them trained`;
}

function progressView(run, goesOn) {
  const { step, plan, time } = run;
  const isTimed = !isImported(run) || time.elapsed > 0;
  const label = plan.steps ? `Step ${step} of ${plan.steps}` : `Step ${step}`;
  const bar = h("progress", { max: plan.steps, value: Math.min(step, plan.steps), "aria-label": label });
  return h(
    "div",
    { class: "row run-progress" },
    plan.steps > 0 && bar,
    h("span", { class: "run-step faint numeric" }, label),
    isTimed && h("span", { class: "run-time faint numeric" }, timeText(time, goesOn) + costText(run, goesOn)),
  );
}

function timeText({ elapsed, left }, goesOn) {
  const leftText = goesOn && left !== null ? ` · about ${formatDuration(left)} left` : "";
  return `${formatDuration(elapsed)} elapsed${leftText}`;
}

/** Returns the cost so far and to the end; empty without a price. */
function costText({ start, series }, goesOn) {
  const spent = series["cost/spent"]?.y.at(-1);
  if (spent === undefined || !start?.price) return "";
  const { currency } = start.price;
  const total = series["cost/total"]?.y.at(-1);
  const toCome = goesOn && total !== undefined ? `, about ${formatMoney(total, currency)} to its end` : "";
  return ` · ${formatMoney(spent, currency)} so far${toCome}`;
}

function factsView(run, isFigure) {
  const facts = [
    ["Training loss", lastText(run, "train/loss", "nats"), lossNote(run)],
    evalFact(run, "task", "Task loss"),
    evalFact(run, "general", "General loss"),
    ["Speed", lastText(run, "perf/tokens_per_second", "tokens/second"), "trained tokens"],
    memoryFact(run),
    costFact(run),
    ...(isFigure ? [] : factMetrics().map((metric) => measuredFact(run, metric))),
  ].filter((fact) => fact && fact[1] !== null);
  if (facts.length === 0) return null;
  return h("dl", { class: "numbers run-numbers" }, facts.map(factView));
}

function lossNote(run) {
  if (isImported(run)) return "as logged";
  return meaningOf(run, "train/loss") ? "as the loop computes it" : "nats per token";
}

function factView([name, value, note, tone]) {
  return h(
    "div",
    null,
    h("dt", { class: "soft" }, name),
    h("dd", null, value),
    note && h("dd", { class: `run-note ${tone || "faint"}` }, note),
  );
}

function lastText(run, name, unit) {
  const value = run.series[name]?.y.at(-1);
  return value === undefined ? null : formatMetric(value, unit);
}

function measuredFact(run, { name, label, unit, fact }) {
  const isBad = name === "train/skipped" && run.series[name]?.y.at(-1) > 0;
  return [label, lastText(run, name, unit), isImported(run) ? "as logged" : fact, isBad ? "bad" : ""];
}

function evalFact(run, suite, label) {
  const scores = run.evals[suite];
  if (!scores || scores.x.length === 0) return null;
  const delta = scores.delta.at(-1);
  const tone = delta > 0 ? "bad" : delta < 0 ? "good" : "";
  return [label, formatLoss(scores.y.at(-1)), `${formatDelta(delta)} since step ${firstStep(run, scores)}`, tone];
}

function memoryFact({ memory }) {
  const measured = Object.values(memory.measured);
  if (measured.length === 0) return null;
  const peak = measured.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const note = memory.peakBytes ? `predicted ${formatBytes(memory.peakBytes)}` : "measured";
  return ["Peak memory", formatBytes(peak.bytes), note];
}

/** Returns the price and what it is for. */
function costFact({ start }) {
  const price = start?.price;
  if (!price) return null;
  return ["Price", `${formatMoney(price.hourly, price.currency)} an hour`, `${price.per}; pauses count`];
}

/** The state of the run in a title, a sentence and the commands that help. */
export function noticeView({ tone, title, text, commands }) {
  return h(
    "p",
    { class: `run-notice run-notice-${tone} soft` },
    h("strong", null, title),
    " ",
    text,
    commands.map((command) => [commands.length > 1 ? h("br") : " ", h("code", null, spellCommand(command))]),
  );
}

/**
 * Returns why memory ran out and what would have fitted, as the trainer logged it.
 * @param {ReturnType<typeof import("../fold.js").emptyRun>} run
 * @returns {import("../../figures/vnode.js").VNode | null} null for a run that ended otherwise
 */
export function postMortemView({ end }) {
  const { facts = [], advice, settings = [] } = end?.postMortem ?? {};
  if (facts.length === 0 && settings.length === 0) return null;
  return h(
    "section",
    { class: "run-section run-post-mortem" },
    h("h3", { class: "run-chart-title" }, "Why memory ran out"),
    facts.length > 0 && h("dl", null, facts.map(causeView)),
    advice && h("p", null, advice),
    settings.length > 0 && h("ul", null, settings.map(settingView)),
  );
}

function causeView({ name, text }) {
  return h("div", null, h("dt", { class: "faint" }, name), h("dd", { class: "soft" }, text));
}

function settingView({ options, text }) {
  return h("li", null, h("code", null, options), h("span", { class: "run-note faint" }, text));
}
