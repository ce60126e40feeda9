/** The sections of a run view: built once, and redrawn only when their content changes. */

import { linkCharts } from "./chart.js";
import { embedView } from "../../page/embed.js";
import { checkbox, make, put, textButton } from "../../figures/tools.js";
import { ROOT } from "../../page/address.js";
import { h, toDom, toHtml } from "../../figures/vnode.js";
import { quoteForShell, spellCommand, withRuns } from "../command-line.js";
import { canBlend, isData, isImported, otherName, otherSeries } from "../fold.js";
import { formatTime } from "../../figures/number.js";
import { makeCharts } from "./charts.js";
import { driftText, driftView, memoryLegend, memoryView } from "./bars.js";
import { headView, noticeView, postMortemView } from "./head.js";
import { examplesView } from "./examples.js";
import { wayBackView } from "./compare-view.js";
import { chartMetrics, schema, stepMetrics } from "../../schema/schema.js";
import { driftTable, evalTable, memoryTable, stepTable } from "./tables.js";

const ALERTS_SHOWN = 20;

const FIGURE_CHARTS = ["loss", "evals"];

/** Builds the empty frame inside `view` and returns its parts; of those a figure shows few. */
export function buildParts(view, isFigure) {
  const part = (tag, className) => make(tag, { className });
  const parts = {
    about: part("p", "run-about soft"),
    notice: part("div", "run-state"),
    announced: make("p", { className: "visually-hidden", role: "status" }),
    postMortem: part("div", "run-post-mortem-slot"),
    head: part("div", "run-head-slot"),
    tools: part("div", "row run-tools soft"),
    options: { smooth: false, whole: false },
    halt: Object.assign(textButton("button-link run-halt", "Stop reading", () => view.dispatchEvent(new Event("halt"))), { hidden: true }),
    charts: part("div", "stack run-charts"),
    others: buildOthers(),
    lacks: part("div", "run-lacks"),
    wayBack: part("div", "run-way-back"),
    blendCommand: part("p", "run-chart-note"),
    loss: make("run-chart"),
    evals: make("run-chart"),
    right: make("run-chart", { hidden: true }),
    rate: part("run-chart", "run-chart-low"),
    memory: part("div", "run-memory-slot"),
    drift: part("div", "run-drift-slot"),
    alerts: part("div", "run-alerts"),
    rows: part("div", "run-rows-slot"),
    samples: part("div", "run-samples"),
    answers: part("div", "run-answers-slot"),
    askedHere: [], // answers of runs that have ended, which are in no log
    tables: part("details", "run-tables"),
    log: part("p", "run-log quiet numeric"),
    embed: part("div", "run-embed"),
    drawn: new WeakMap(),
    announce: (text) => text && (parts.announced.textContent = text),
  };
  const measured = [...chartMetrics().keys()];
  for (const name of measured) parts[name] = make("run-chart", { className: "run-chart-low", hidden: true });
  const charts = isFigure ? FIGURE_CHARTS : [...FIGURE_CHARTS, "right", "memory", "rate", "drift", ...measured];
  parts.charts.append(...charts.map((name) => parts[name]));
  buildTools(parts);
  buildTables(parts);
  linkCharts(view);
  const shown = ["about", "notice", "halt", "announced", "postMortem", "head"];
  if (isFigure) shown.push("charts", "samples");
  else shown.push("tools", "charts", "wayBack", "blendCommand", "lacks", "alerts", "rows", "samples", "answers", "tables", "log");
  view.replaceChildren(...shown.map((name) => parts[name]));
  if (isFigure) view.append(moreLink(parts));
  view.append(parts.embed);
  return parts;
}

/** From a figure to all of the run, on the page of runs. */
function moreLink(parts) {
  parts.more = make("a", { className: "run-more", href: `${ROOT}runs/` }, "The whole run: every chart and table, its data, its alerts");
  return make("p", { className: "soft" }, parts.more);
}

/** Loads the elements that control runs and inserts them. */
export async function addControl(parts) {
  if (parts.commands) return;
  parts.commands = make("run-commands");
  parts.announced.after(parts.commands);
  parts.ask = make("run-ask");
  parts.answers.before(parts.ask);
  parts.blend = make("run-blend", { className: "stack" });
  parts.wayBack.after(parts.blend);
  parts.ask.addEventListener("answered", ({ detail }) => {
    parts.askedHere.push(detail);
    drawAnswers(parts, parts.view.run);
  });
  await import("./run-controls.js");
}

/** Updates the controls to the state of the view; they are hidden where the server allows none. */
export function drawControl(parts, view, allowed) {
  const { commands, ask, blend } = parts;
  const isTyped = !allowed && view.kind === "live" && canBlend(view.run, view.health) && view.run.blends.length === 0;
  redraw(parts, parts.blendCommand, isTyped ? blendCommandView(view.run) : null);
  if (!commands?.show || !ask.show) return; // their modules still load
  for (const part of [commands, ask, blend]) if (!allowed) part.hidden = true; else part.show(view);
}

function blendCommandView({ run }) {
  return h("span", null, "To win back what it lost, type ", h("code", null, spellCommand(`${withRuns("unfrozen blend")} ${quoteForShell(run)}`)));
}

/**
 * Updates what stands first to the state of a run.
 * @param {object} view
 * @param {ReturnType<typeof import("../fold.js").emptyRun>} view.run
 * @param {import("../notices.js").Notice} view.notice
 * @param {string} view.about description of a recording
 * @param {boolean} view.goesOn whether more steps will come
 * @param {boolean} [view.halts] whether a large file is being read, and can be stopped
 */
export function drawHead(parts, { run, notice, about, goesOn, halts = false }) {
  const isEmpty = hasNothing(run);
  put(parts.about, about);
  redraw(parts, parts.notice, noticeView(notice));
  redraw(parts, parts.postMortem, postMortemView(run));
  for (const part of [parts.head, parts.tools, parts.charts, parts.tables, parts.log]) part.hidden = isEmpty;
  redraw(parts, parts.head, isEmpty ? null : headView(run, goesOn, Boolean(parts.more)));
  parts.halt.hidden = !halts;
}

/** Updates what stands below, but for the figures. What is measured was laid out with the last frame. */
export function drawBody(parts, view) {
  const { run } = view;
  const [wayBack, rows] = [parts.wayBack.clientWidth, parts.rows.clientWidth];
  if (!parts.more) drawOthers(parts.others, run, parts.charts);
  redraw(parts, parts.wayBack, wayBackView(run, Math.min(640, wayBack || 640)));
  redraw(parts, parts.lacks, lacksView(run));
  redraw(parts, parts.alerts, alertsView(run));
  redraw(parts, parts.embed, view.recording ? embedView("run", view.recording) : null);
  redraw(parts, parts.rows, examplesView(run.rows, rows || 480));
  redraw(parts, parts.samples, samplesView(run));
  drawAnswers(parts, run);
  parts.view = view;
}

/** Updates the figures, and the tables of them. */
export function drawFigures(parts, view) {
  const { run } = view;
  if (hasNothing(run)) return;
  const [memory, drift] = [parts.memory.clientWidth, parts.drift.clientWidth];
  parts.memory.hidden = isImported(run) && Object.keys(run.memory.measured).length === 0; // none will come
  parts.drift.hidden = isImported(run) && run.drift.x.length === 0;
  redraw(parts, parts.memory, memoryFigure(run.memory, memory || 480));
  redraw(parts, parts.drift, driftFigure(run.drift, drift || 480));
  redraw(parts, parts.log, logView(run));
  drawCharts(parts, view);
  if (parts.tables.open) fillTables(parts, run);
  else parts.run = run;
}

/** Whether a run has nothing to draw, yet or ever. */
function hasNothing(run) {
  return run.events === 0 || isData(run);
}

function drawAnswers(parts, run) {
  redraw(parts, parts.answers, answersView([...run.answers, ...parts.askedHere.filter((one) => one.run === run.run)]));
}

/** Replaces the content of `element` when the new one differs. */
function redraw(parts, element, node) {
  const html = node ? toHtml(node) : "";
  if (parts.drawn.get(element) === html) return;
  parts.drawn.set(element, html);
  element.replaceChildren(...(node ? [toDom(node)] : []));
}

/** Draws the charts again when events have arrived. */
function drawCharts(parts, { run }) {
  const version = [run.run, run.events, run.firstTime, ...Object.values(parts.options)].join();
  if (parts.version === version) return;
  parts.version = version;
  for (const [name, chart] of Object.entries(makeCharts(run, parts.options))) {
    parts[name].hidden = chart === null;
    if (chart) parts[name].chart = chart;
  }
}

/** Builds the options of all charts. */
function buildTools(parts) {
  const choice = (name, text) =>
    checkbox(text, false, (isOn) => {
      parts.options[name] = isOn;
      drawCharts(parts, parts.view);
    });
  const save = saveButton(() => parts.tools.dispatchEvent(new CustomEvent("save", { bubbles: true })));
  parts.tools.append(choice("smooth", "Smooth the loss"), choice("whole", "Axis to the planned end"), save);
}

/** Returns the button that saves the points of what is shown. @param {() => void} save */
export function saveButton(save) {
  return textButton("button-link", "Save as CSV", save);
}

function memoryFigure(memory, width) {
  const picture = memoryView(memory, width);
  return h(
    "figure",
    { class: "run-figure" },
    h("h3", { class: "run-chart-title" }, "Memory by instant"),
    picture ?? h("p", { class: "faint" }, "No measurement yet."),
    picture && memoryLegend(memory),
    h("p", { class: "run-chart-note quiet" }, "The largest measurement at each instant, over the prediction made before the first step."),
  );
}

function driftFigure({ x, total, layers }, width) {
  if (x.length === 0) return null;
  const picture = driftView(layers, width);
  const whole = `The whole model: ${driftText(total.at(-1))} at step ${x.at(-1)}.`;
  const note = `Norm of each layer's change over the norm of its pre-trained weights. ${whole}`;
  return h(
    "figure",
    { class: "run-figure" },
    h("h3", { class: "run-chart-title" }, "Weight change by layer"),
    picture ?? h("p", { class: "faint" }, "Nothing has changed yet."),
    picture && h("p", { class: "run-chart-note quiet" }, note),
  );
}

/** Lists what an imported log lacks, so that a missing value is not read as zero. */
function lacksView(run) {
  const lacks = run.start?.lacks ?? [];
  if (lacks.length === 0) return null;
  return h(
    "section",
    { class: "run-section" },
    h("h3", { class: "run-chart-title" }, "Not in this log"),
    h("p", { class: "run-chart-note quiet" }, `${run.start.tool || "Its trainer"} did not log ${lacks.join("; ")}.`),
  );
}

const REMEDIES = "../#when-a-run-goes-wrong";

function alertsView({ alerts, alertCount }) {
  if (alerts.length === 0) return null;
  const shown = alerts.slice(-ALERTS_SHOWN).reverse();
  const hidden = alertCount - shown.length;
  return h(
    "section",
    { class: "run-section" },
    h("h3", { class: "run-chart-title" }, "Alerts"),
    h("ol", { class: "run-alert-list" }, shown.map(alertView)),
    hidden > 0 && h("p", { class: "run-chart-note quiet" }, `${hidden} earlier alerts are in the log.`),
    shown.some(({ level }) => level !== "info") && h("p", { class: "run-chart-note" }, h("a", { href: REMEDIES }, "What to try first")),
  );
}

function alertView({ level, text, step, time }) {
  return h(
    "li",
    { class: `run-alert run-alert-${level}` },
    h("span", { class: "faint numeric" }, `step ${step}, ${formatTime(time)}`),
    h("span", null, text),
  );
}

function samplesView({ samples }) {
  if (samples.length === 0) return null;
  const headers = ["Prompt", "Before training", "After training"];
  const sample = (text, isNew) => h("span", { class: isNew ? null : "faint" }, text?.trimStart() ?? "not yet");
  const row = ({ prompt, before, after }) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, prompt),
      h("td", { "data-name": headers[1] }, sample(before, before !== null)),
      h("td", { "data-name": headers[2] }, sample(after, after !== null && after !== before)),
    );
  return h(
    "section",
    { class: "run-section" },
    h("h3", { class: "run-chart-title" }, "Samples"),
    h(
      "div",
      { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "Samples before and after" },
      h(
        "table",
        { class: "run-sample-table" },
        h("thead", null, h("tr", null, headers.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", null, samples.map(row)),
      ),
    ),
    h("p", { class: "run-chart-note quiet" }, "The most likely continuation of each prompt. Grey: unchanged."),
  );
}

/** Draws answers, the newest first. @param {{prompt: string, step?: number, before: object | null, after: object}[]} answers */
export function answersView(answers) {
  if (answers.length === 0) return null;
  return h(
    "section",
    { class: "run-section" },
    h("h3", { class: "run-chart-title" }, "Answers"),
    h("ol", { class: "run-answers" }, [...answers].reverse().map(answerView)),
    h("p", { class: "run-chart-note quiet" }, "Marked: what follows the first token in which they differ."),
  );
}

function answerView({ prompt, step, before, after }) {
  const same = commonPieces(before, after);
  const side = (name, answer) => answer && h("div", null, h("dt", null, name), h("dd", null, writtenView(answer, same)));
  const now = `After ${after.model ?? `step ${step}`}`; // a log names the step, a server the run as well
  return h("li", null, h("p", { class: "run-answer-prompt" }, prompt), h("dl", null, side("Before training", before), side(now, after)));
}

/** How many pieces two answers share at their beginning. */
function commonPieces(before, after) {
  const [one, two] = [before?.pieces ?? [], after.pieces ?? []];
  let same = 0;
  while (same < one.length && one[same] === two[same]) same += 1;
  return same;
}

function writtenView({ text, ended, pieces = [] }, same) {
  const start = pieces.slice(0, same).join("");
  const rest = text.slice(start.length);
  if (ended && !text.trim()) return h("span", { class: "faint" }, "It ends at once.");
  return [start, rest && h("mark", null, rest), !ended && h("span", { class: "faint" }, " … stopped")];
}

/** Draws how many events the log has, and what is missing, damaged or refused. */
function logView(run) {
  const flaws = [
    [run.gaps, "missing"],
    [run.duplicates, "repeated"],
    [run.skippedLines, "damaged lines"],
    [run.unknownKinds, "of a kind this page does not know"],
    [run.unknownFields, "fields this page does not know"],
    [run.unknownSeries, "values of too many names"],
    [run.droppedSamples, "samples of too many prompts"],
    [run.refusedLines, "refused"],
  ].filter(([count]) => count > 0);
  const lost = flaws.length ? flaws.map(([count, what]) => `${count} ${what}`).join(", ") : "none missing";
  const attempts = run.attempts.length ? ` · resumed ${run.attempts.length}×` : "";
  const isNewer = run.version > schema().version;
  const format = isNewer ? ` · written in version ${run.version} of the format, of which this page reads ${schema().version}` : "";
  const text = `${run.run} · ${run.events} events, ${lost}${attempts}${format}`;
  return h("span", { class: flaws.length || isNewer ? "warn" : null }, text, refusalsView(run));
}

/** Draws why the first few lines were refused. */
function refusalsView({ refusals, refusedLines }) {
  if (refusedLines === 0) return null;
  const more = refusedLines - refusals.length;
  const reasons = more > 0 ? [...refusals, `and ${more} more`] : refusals;
  return h("span", { class: "run-log-refused" }, ` · Refused: ${reasons.join("; ")}.`);
}

function buildTables(parts) {
  const names = ["evalTable", "memoryTable", "driftTable", "stepTable"];
  for (const name of names) parts[name] = make("data-table");
  parts.tables.append(make("summary", {}, "These charts as tables"), ...names.map((name) => parts[name]));
  parts.tables.addEventListener("toggle", () => parts.tables.open && parts.run && fillTables(parts, parts.run));
}

function fillTables(parts, run) {
  parts.run = run;
  const tables = {
    stepTable: stepTable(run, stepMetrics()),
    evalTable: evalTable(run),
    memoryTable: memoryTable(run.memory),
    driftTable: driftTable(run.drift),
  };
  for (const [name, data] of Object.entries(tables)) {
    const text = JSON.stringify(data);
    if (parts.drawn.get(parts[name]) === text) continue;
    parts.drawn.set(parts[name], text);
    parts[name].hidden = data.rows.length === 0;
    parts[name].data = data;
  }
}

const MOST_SHOWN = 24;

/** Builds the fold with the charts of series that only another tool knows. */
function buildOthers() {
  const charts = make("div", { className: "stack run-charts" });
  const note = make("p", { className: "run-chart-note quiet" });
  const others = make("details", { className: "run-tables run-others" }, make("summary"), charts, note);
  others.addEventListener("toggle", () => others.open && others.run && fillOthers(others, others.run));
  return others;
}

/**
 * Draws these charts while the fold is open; a run without such series has no fold.
 * @param {HTMLElement} others @param {import("./charts.js").Run} run @param {HTMLElement} before
 */
function drawOthers(others, run, before) {
  const count = otherSeries(run).length;
  others.run = run;
  if (count === 0) return others.remove();
  if (!others.isConnected) {
    before.after(others);
    others.open = !isImported(run); // the loop's own numbers were asked for
  }
  const text = `${count} more ${count === 1 ? "curve" : "curves"}, under the names in the log`;
  put(others.firstChild, text);
  if (others.open) fillOthers(others, run);
}

function fillOthers(others, run) {
  const names = otherSeries(run);
  const [, charts, note] = others.children;
  while (charts.children.length > Math.min(names.length, MOST_SHOWN)) charts.lastChild.remove();
  names.slice(0, MOST_SHOWN).forEach((name, place) => {
    const chart = charts.children[place] ?? charts.appendChild(make("run-chart"));
    chart.className = "run-chart-low";
    const version = `${run.run} ${run.events} ${name}`;
    if (chart.dataset.version === version) return;
    chart.dataset.version = version;
    chart.chart = makeChart(run, name);
  });
  const more = names.length - MOST_SHOWN;
  note.textContent = more > 0 ? `${more} more are in the log.` : "";
}

function makeChart(run, name) {
  const { x, y } = run.series[name];
  const line = { label: otherName(name), color: "--series-1", x, y, end: "", dots: x.length < 60 };
  return { of: run.run, title: otherName(name), unit: "1", room: 24, note: "", lines: [line] };
}
