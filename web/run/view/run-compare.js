/**
 * `<run-compare>`: up to eight runs over one another: the settings in which they differ beside their results, their curves, and
 * the plane of what they learned and kept. Which runs is in the address, as `runs/?compare=RUN,RUN`; each is a run of this
 * machine, of this page, or a recording of this site.
 */

import "../../tables/data-table.js";
import { formatBytes, formatDelta, formatLoss } from "../../figures/number.js";
import { h, toDom } from "../../figures/vnode.js";
import { planeView } from "../../plots/plane.js";
import { AXES, axisOf, differingSettings, frontier, lossDifference, meaningWarning, MOST_RUNS, pathOf } from "../compare.js";
import { listRecordings } from "../log-reader.js";
import { pageRuns } from "../page-runs.js";
import { runTitle, runner } from "../runner.js";
import { RunWatch } from "../watch.js";
import { smoothed } from "./charts.js";
import { linkCharts } from "./chart.js";

const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--ink", "--ink-3"];
const KEY = "compare";
const DRAW_MS = 300;
const CHARTS = ["task", "general", "right"];
const UNITS = { step: "step", tokens: "tokens", seconds: "second" };

export class RunCompare extends HTMLElement {
  /** @type {{name: string, watch: RunWatch}[]} */
  #chosen = [];
  #parts = null;
  #recordings = [];
  /** @type {Map<string, File>} */
  #files = new Map();
  #listed = [];
  #options = { axis: "step", smooth: false, log: false };
  #timer = 0;
  #drawn = "";

  async connectedCallback() {
    if (this.#parts) return;
    this.#build();
    for (const source of [runner, pageRuns]) source.addEventListener("change", () => this.#list());
    runner.start();
    this.#recordings = await listRecordings();
    this.#list();
  }

  /** Lists what can be compared, and shows what the address names. */
  #list() {
    const usable = runner.runs.filter(({ problem }) => !problem).map((run) => ({ kind: "live", name: run.id, title: runTitle(run) }));
    const own = [...pageRuns.all.values()].map(({ id, title }) => ({ kind: "page", name: id, title }));
    const files = [...this.#files.keys()].map((name) => ({ kind: "file", name, title: name }));
    const listed = [...files, ...usable, ...own, ...this.#recordings.map(({ name, title }) => ({ kind: "recording", name, title }))];
    if (JSON.stringify(listed) === JSON.stringify(this.#listed)) return;
    this.#listed = listed;
    const names = this.#chosen.length ? this.#chosen.map(({ name }) => name) : namesOfAddress();
    this.#choose(names);
    this.#drawChoice();
  }

  #build() {
    const make = (tag, more) => Object.assign(document.createElement(tag), more);
    const choice = make("details", { className: "run-compare-choice", open: namesOfAddress().length === 1 });
    const boxes = make("fieldset", { className: "run-compare-list" });
    const file = make("input", { type: "file" });
    file.addEventListener("change", () => file.files.length && this.#add(file.files[0]));
    const adding = make("label", { className: "run-choice faint", textContent: "Or a log file " });
    adding.append(file);
    const problem = make("p", { className: "run-command-status soft" });
    problem.setAttribute("role", "status");
    choice.append(make("summary", { textContent: "Compare runs" }), boxes, adding, problem);
    const body = make("div", { className: "stack", hidden: true });
    const tools = make("div", { className: "row run-tools soft" });
    tools.append(this.#axisSelect(), this.#option("smooth", "Moving average"), this.#option("log", "Log scale"));
    const table = make("data-table", {});
    const differences = make("div", {});
    const plane = make("figure", { className: "run-figure run-compare-plane" });
    const charts = make("div", { className: "stack run-charts" });
    linkCharts(charts);
    this.#parts = { choice, boxes, problem, body, table, differences, plane };
    for (const name of CHARTS) charts.append((this.#parts[name] = document.createElement("run-chart")));
    body.append(tools, table, differences, charts, plane);
    this.replaceChildren(choice, body);
  }

  #axisSelect() {
    const label = Object.assign(document.createElement("label"), { textContent: "Over " });
    const select = document.createElement("select");
    select.className = "field-input";
    select.append(...Object.entries(AXES).map(([value, text]) => new Option(text, value)));
    select.addEventListener("change", () => this.#set({ axis: select.value }));
    label.append(select);
    return label;
  }

  #option(name, text) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name });
    box.addEventListener("change", () => this.#set({ [name]: box.checked }));
    label.append(box, text);
    return label;
  }

  #set(options) {
    Object.assign(this.#options, options);
    this.#drawn = "";
    this.#draw();
  }

  #drawChoice() {
    const { boxes, problem } = this.#parts;
    const chosen = this.#chosen.map(({ name }) => name);
    const boxOf = ({ name, title }) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: chosen.includes(name) });
      box.disabled = !box.checked && chosen.length >= MOST_RUNS;
      box.addEventListener("change", () => this.#toggle(name, box.checked));
      label.append(box, title);
      return label;
    };
    const legend = Object.assign(document.createElement("legend"), { className: "soft" });
    legend.textContent = this.#listed.length < 2 ? "There are no two runs to compare yet." : `Two to ${MOST_RUNS} runs`;
    boxes.replaceChildren(legend, ...this.#listed.map(boxOf));
    const known = this.#listed.map(({ name }) => name);
    const absent = namesOfAddress().filter((name) => !known.includes(name));
    problem.textContent = absent.length ? `Not here: ${absent.join(", ")}. It was removed, or is on another machine.` : "";
  }

  /** Lists a log that the reader has chosen, and compares it; it is in no address. */
  #add(file) {
    this.#files.set(file.name, file);
    this.#list();
    this.#toggle(file.name, true);
  }

  #toggle(name, isChosen) {
    const names = this.#chosen.map((one) => one.name).filter((other) => other !== name);
    this.#choose(isChosen ? [...names, name] : names);
    rememberNames(this.#chosen.map((one) => one.name).filter((one) => !this.#files.has(one)));
    this.#drawChoice();
    this.#parts.boxes.querySelector(`input[value="${CSS.escape(name)}"]`)?.focus();
  }

  /** Follows the runs of these names that are listed; those that are followed already are not read again. */
  #choose(names) {
    const wanted = [...new Set(names)].slice(0, MOST_RUNS);
    const kept = this.#chosen.filter(({ name, watch }) => wanted.includes(name) || watch.stop());
    this.#chosen = wanted.flatMap((name) => kept.find((one) => one.name === name) ?? this.#follow(name));
    this.#later();
  }

  #follow(name) {
    const listed = this.#listed.find((one) => one.name === name);
    if (!listed) return [];
    const watch = new RunWatch();
    watch.addEventListener("change", () => this.#later());
    if (listed.kind === "live") watch.showLive(name);
    else if (listed.kind === "page") watch.showPage(name);
    else if (listed.kind === "file") void watch.showFiles([this.#files.get(name)]);
    else void watch.showRecording(name);
    return [{ name, watch }];
  }

  #later() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, DRAW_MS);
  }

  #draw() {
    const runs = this.#chosen.map(({ name, watch }, index) => ({
      run: watch.run, number: index + 1, color: COLORS[index], title: this.#listed.find((one) => one.name === name)?.title ?? name,
    })).filter(({ run }) => run.events > 0);
    this.#parts.body.hidden = runs.length < 2;
    const version = JSON.stringify([runs.map(({ run, number }) => [run.run, run.events, number]), this.#options]);
    if (runs.length < 2 || version === this.#drawn) return;
    this.#drawn = version;
    this.#parts.table.data = settingsTable(runs);
    const warning = meaningWarning(runs.map(({ run }) => run));
    this.#parts.differences.replaceChildren(toDom(warning ? h("p", { class: "bad" }, warning) : differencesView(runs)));
    for (const [name, chart] of Object.entries(chartsOf(runs, this.#options))) {
      this.#parts[name].hidden = chart === null;
      if (chart) this.#parts[name].chart = chart;
    }
    const plane = planeOf(runs);
    this.#parts.plane.hidden = plane === null;
    if (plane) this.#parts.plane.replaceChildren(...plane.filter(Boolean).map((node) => toDom(node)));
  }
}

/** Returns the names in the address of the page. */
function namesOfAddress() {
  const names = new URLSearchParams(location.search).get(KEY)?.split(",") ?? [];
  return [...new Set(names.filter(Boolean))].slice(0, MOST_RUNS);
}

function rememberNames(names) {
  const query = new URLSearchParams(location.search);
  query.delete(KEY);
  const rest = query.toString();
  const own = names.length ? `${KEY}=${names.map(encodeURIComponent).join(",")}` : "";
  const search = [rest, own].filter(Boolean).join("&");
  history.replaceState(history.state, "", location.pathname + (search && `?${search}`) + location.hash);
}

/** @typedef {{run: import("../compare.js").Run, number: number, color: string, title: string}} Compared */

/** Returns results and differing settings, a column for each run. @param {Compared[]} runs */
function settingsTable(runs) {
  const last = (points, format) => (points?.y.length ? format(points.y.at(-1)) : null);
  const change = (scores) => (scores?.delta.length ? formatDelta(scores.delta.at(-1)) : null);
  const of = ({ y, of: all }) => `${Math.round(y.at(-1) * all)} of ${all}`;
  const results = [
    ["Status", ({ status }) => status],
    ["Step", ({ step }) => `${step}`],
    ["Task loss", ({ evals }) => last(evals.task, formatLoss)],
    ["General loss since step 0", ({ evals }) => change(evals.general)],
    ["Right answers, task", ({ right }) => (right.task?.y.length ? of(right.task) : null)],
    ["Right answers, general", ({ right }) => (right.general?.y.length ? of(right.general) : null)],
    ["Peak memory", ({ memory }) => peakText(Object.values(memory.measured))],
  ].map(([name, valueOf]) => [name, ...runs.map(({ run }) => valueOf(run))]);
  const settings = differingSettings(runs.map(({ run }) => run));
  return {
    headers: ["", ...runs.map(({ number, title }) => `${number} · ${title}`)],
    rows: [...results.filter(([, ...values]) => values.some((value) => value !== null)), ...settings],
    caption: settings.length ? "Results, and the settings in which they differ" : "Results; no setting differs",
  };
}

function peakText(instants) {
  return instants.length ? formatBytes(Math.max(...instants.map(({ bytes }) => bytes))) : null;
}

/** Says of each run and the first one whether they differ by more than the noise of the held-out rows. @param {Compared[]} runs */
function differencesView([first, ...others]) {
  const sentences = others.flatMap((other) =>
    ["task", "general"].map((suite) => differenceText(first, other, suite)).filter(Boolean));
  if (sentences.length === 0) return h("p", { class: "quiet" }, "Their logs do not hold the loss of each held-out example, so that no interval can be given.");
  return h("div", null, h("ul", { class: "run-compare-differences" }, sentences.map((text) => h("li", null, text))), h("p", { class: "quiet" },
    "Differences of the mean loss of an example, at the newest evaluation, with a 95% interval by bootstrap over the same examples."));
}

function differenceText(first, other, suite) {
  const found = lossDifference(first.run, other.run, suite);
  if (!found) return "";
  const { mean, low, high, rows } = found;
  const what = suite === "task" ? "on the task" : "on what it knew before";
  const interval = `${formatDelta(low)} to ${formatDelta(high)}`;
  const pair = `Run ${other.number} and run ${first.number} ${what}`;
  if (low <= 0 && high >= 0) return `${pair}: no difference that ${rows} examples show (${interval} nats).`;
  return `${pair}: run ${other.number} is ${formatLoss(Math.abs(mean))} nats ${mean < 0 ? "lower" : "higher"} (${interval}, ${rows} examples).`;
}

/** Returns the charts by name, null for one without lines. @param {Compared[]} runs */
function chartsOf(runs, options) {
  const { axis, log } = options;
  const of = `${runs.map(({ run }) => run.run).join()} ${axis}`;
  const lastStep = axis === "step" ? Math.max(...runs.map(({ run }) => run.plan.steps)) : 0;
  const legend = runs.map(({ number, title }) => `${number}: ${title}`).join(". ");
  const chart = (title, unit, lines, note) => {
    const drawn = log ? lines.map((line) => ({ ...line, y: line.y.map((value) => (value > 0 ? value : NaN)) })) : lines;
    return lines.length ? { title, unit, axis: UNITS[axis], note, lines: drawn, zero: !log, log, of, room: 40, lastStep, planned: lastStep, marks: [] } : null;
  };
  const dotted = (pointsOf) => runs.flatMap((one) => linesOf(pointsOf(one.run), one, axis, { dots: true }));
  const losses = runs.flatMap((one) => lossLines(one, options));
  return {
    task: chart("Loss on the task", "nats", losses, `Dots: held-out examples; pale: each batch. ${legend}.`),
    general: chart("Loss on what it knew before", "nats", dotted(({ evals }) => evals.general), "A rising line is forgetting."),
    right: chart("Right answers on the task", "ratio", dotted(({ right }) => right.task), "Held-out examples whose whole answer is right."),
  };
}

/** Returns the line of a series of a run, behind it those of attempts that were abandoned. */
function linesOf(points, { number, color, run }, axis, look) {
  if (!points?.x.length) return [];
  const place = axisOf(run, axis);
  const old = points.old.map(({ x, y }) => ({ label: `${number}, abandoned`, color, faint: true, end: "", x: place(x), y }));
  return [...old, { label: `${number}`, color, x: place(points.x), y: points.y, end: `${number}`, ...look }];
}

/** Returns the loss of each batch, smoothed with its moving average before it, and of the held-out examples. */
function lossLines(one, { axis, smooth }) {
  const { number, run } = one;
  const batches = linesOf(run.series["train/loss"], one, axis, { thin: true, pale: true, end: "", label: `${number}, each batch` });
  const mean = smooth ? batches.slice(-1).map((line) => ({ ...line, pale: false, y: smoothed(line.y), label: `${number}, moving average` })) : [];
  return [...batches, ...mean, ...linesOf(run.evals.task, one, axis, { dots: true })];
}

/** @param {Compared[]} runs */
function planeOf(runs) {
  const paths = runs.map((one) => ({ ...one, path: pathOf(one.run), isShown: true })).filter(({ path }) => path.length);
  if (paths.length === 0) return null;
  const best = frontier(paths.flatMap(({ path }) => path));
  return [
    h("h3", { class: "run-chart-title" }, "What was learned, and what was kept"),
    ...planeView(null, paths, 640, best),
    h("p", { class: "run-chart-note quiet" }, "A path is a run, a point an evaluation. Joined: points that no other beats in both respects."),
  ];
}

customElements.define("run-compare", RunCompare);
