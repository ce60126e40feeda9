/**
 * `<run-compare>`: up to eight runs over one another: the settings in which they differ beside their results, their curves, and
 * the plane of what they learned and kept. Which runs is in the address, as `runs/?compare=RUN,RUN`; each is a run of this
 * machine, of this page, or a recording of this site. How they are drawn is there too: `&over=tokens&scale=log&smooth=1
 * &range=FROM-TO&also=METRIC`. Of runs of this machine an outline is drawn first, and then the whole logs are read.
 */

import "../../tables/data-table.js";
import { h, toDom } from "../../figures/vnode.js";
import { AXES, meaningWarning, MOST_RUNS } from "../compare.js";
import { listRecordings } from "../log-reader.js";
import { pageRuns } from "../page-runs.js";
import { currentToken, runTitle, runner } from "../runner.js";
import { RunWatch } from "../watch.js";
import { linkCharts } from "./chart.js";
import { saveButtons } from "./sections.js";
import { chartsOf, differencesView, otherCurves, planeOf, settingsTable } from "./compare-view.js";

const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--ink", "--c-workspace"];
const KEY = "compare";
const RECORDING = /\.jsonl$/;
const DRAW_MS = 300;
const CHARTS = ["task", "general", "right", "also"];

export class RunCompare extends HTMLElement {
  /** @type {{name: string, watch: RunWatch}[]} */
  #chosen = [];
  /** Names in the order of their numbers, those that are not listed yet among them. */
  #wanted = namesOfAddress();
  #parts = null;
  #recordings = [];
  /** @type {Map<string, File>} */
  #files = new Map();
  #listed = [];
  #options = optionsOfAddress();
  #timer = 0;
  #drawn = "";
  #scored = "";

  async connectedCallback() {
    if (this.#parts) return;
    this.#build();
    for (const source of [runner, pageRuns]) source.addEventListener("change", () => this.#list());
    runner.start();
    if (currentToken()) this.#chosen = this.#wanted.filter((name) => !RECORDING.test(name)).map((name) => this.#followLive(name));
    void this.#readWhole(this.#chosen); // before the list of runs is there
    this.#list();
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
    this.#choose();
    this.#drawChoice();
  }

  #build() {
    const make = (tag, more) => Object.assign(document.createElement(tag), more);
    const choice = make("details", { className: "run-compare-choice", open: namesOfAddress().length === 1 });
    choice.addEventListener("toggle", () => this.#drawChoice());
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
    const axis = this.#select("axis", "Over ", Object.entries(AXES));
    const also = this.#select("also", "Also ", [["", "no other curve"]]);
    tools.append(axis, this.#option("smooth", "Moving average"), this.#option("log", "Log scale"), also, ...saveButtons((what) => this.#save(what)));
    const table = make("data-table", {});
    const differences = make("div", {});
    const plane = make("figure", { className: "run-figure run-compare-plane" });
    const charts = make("div", { className: "stack run-charts" });
    linkCharts(charts);
    charts.addEventListener("chart-zoom", ({ detail }) => this.#set({ range: detail }));
    this.#parts = { choice, boxes, problem, body, table, differences, plane, also: null, curves: also.lastChild };
    for (const name of CHARTS) charts.append((this.#parts[name] = document.createElement("run-chart")));
    body.append(tools, table, differences, charts, plane);
    this.replaceChildren(choice, body);
  }

  #select(name, text, choices) {
    const label = Object.assign(document.createElement("label"), { textContent: text });
    const select = Object.assign(document.createElement("select"), { className: "field-input", name });
    select.append(...choices.map(([value, title]) => new Option(title, value)));
    select.value = this.#options[name];
    select.addEventListener("change", () => this.#set({ [name]: select.value, ...(name === "axis" ? { range: null } : {}) }));
    label.append(select);
    return label;
  }

  #option(name, text) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name, checked: this.#options[name] });
    box.addEventListener("change", () => this.#set({ [name]: box.checked }));
    label.append(box, text);
    return label;
  }

  #set(options) {
    Object.assign(this.#options, options);
    this.#remember();
    this.#draw();
  }

  #remember() {
    rememberNames(this.#wanted.filter((name) => !this.#files.has(name)), this.#options);
  }

  #drawChoice() {
    const { choice, boxes, problem } = this.#parts;
    const boxOf = ({ name, title }) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: this.#wanted.includes(name) });
      box.disabled = !box.checked && this.#wanted.length >= MOST_RUNS;
      box.addEventListener("change", () => this.#toggle(name, box.checked));
      label.append(box, title);
      return label;
    };
    const legend = Object.assign(document.createElement("legend"), { className: "soft" });
    legend.textContent = this.#listed.length < 2 ? "There are no two runs to compare yet." : `Two to ${MOST_RUNS} runs`;
    if (choice.open) boxes.replaceChildren(legend, ...this.#listed.map(boxOf));
    const known = this.#listed.map(({ name }) => name);
    const absent = namesOfAddress().filter((name) => !known.includes(name));
    problem.textContent = absent.length ? `Not here: ${absent.join(", ")}. It was removed, or is on another machine.` : "";
  }

  /** Lists a log that the reader has chosen, and compares it; it is in no address. */
  #add(file) {
    const taken = this.#listed.map((one) => one.name);
    const isTaken = (name) => taken.includes(name) && this.#files.get(name) !== file;
    let name = file.name;
    for (let number = 2; isTaken(name); number += 1) name = `${file.name} (${number})`;
    this.#files.set(name, file);
    this.#list();
    this.#toggle(name, true);
  }

  #toggle(name, isChosen) {
    const others = this.#wanted.filter((other) => other !== name);
    this.#wanted = (isChosen ? [...others, name] : others).slice(0, MOST_RUNS);
    this.#choose();
    this.#remember();
    this.#drawChoice();
    this.#parts.boxes.querySelector(`input[value="${CSS.escape(name)}"]`)?.focus();
  }

  /** Follows what is wanted and listed; a run that is followed already is not read again. */
  #choose() {
    const kept = this.#chosen.filter(({ name, watch }) => this.#wanted.includes(name) || watch.stop());
    this.#chosen = this.#wanted.flatMap((name) => kept.find((one) => one.name === name) ?? this.#follow(name));
    void this.#readWhole(this.#chosen.filter((one) => !kept.includes(one)));
    this.#later();
  }

  #follow(name) {
    const listed = this.#listed.find((one) => one.name === name);
    if (!listed) return [];
    if (listed.kind === "live") return [this.#followLive(name)];
    const watch = this.#newWatch();
    if (listed.kind === "page") watch.showPage(name);
    else if (listed.kind === "file") void watch.showFiles([this.#files.get(name)]);
    else void watch.showRecording(name);
    return [{ name, watch, outlined: null }];
  }

  #followLive(name) {
    const watch = this.#newWatch();
    return { name, watch, outlined: watch.outlineLive(name) };
  }

  #newWatch() {
    const watch = new RunWatch();
    watch.addEventListener("change", () => this.#later());
    return watch;
  }

  /** Reads the whole logs of runs of this machine, once the outlines of all of them are drawn. */
  async #readWhole(added) {
    const live = added.filter(({ outlined }) => outlined);
    if (live.length === 0) return;
    await Promise.all(live.map(({ outlined }) => outlined));
    const isListed = (name) => this.#listed.some((one) => one.name === name && one.kind === "live");
    const others = live.filter(({ name, watch }) => watch.run.events === 0 && !isListed(name)); // no runs of this machine
    this.#chosen = this.#chosen.filter((one) => !others.includes(one));
    this.#draw();
    await new Promise((drawn) => setTimeout(drawn, DRAW_MS));
    for (const one of live) if (this.#chosen.includes(one)) one.watch.showLive(one.name);
    if (others.length) this.#choose();
  }

  #later() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, DRAW_MS);
  }

  /** @returns {import("./compare-view.js").Compared[]} */
  #compared() {
    const titleOf = (name) => this.#listed.find((one) => one.name === name)?.title ?? name;
    const all = this.#chosen.map(({ name, watch }, index) => ({ run: watch.run, number: index + 1, color: COLORS[index], title: titleOf(name) }));
    return all.filter(({ run }) => run.events > 0);
  }

  /** @param {"report" | "points"} what */
  async #save(what) {
    const { saveComparison, savePoints } = await import("./report.js");
    await Promise.all(this.#chosen.map(({ watch }) => watch.readWhole()));
    if (what === "report") saveComparison(this.#compared(), this.#options);
    else savePoints(this.#compared().map(({ run }) => run));
  }

  #draw() {
    const runs = this.#compared();
    this.#parts.body.hidden = runs.length < 2;
    const version = JSON.stringify([runs.map(({ run, number, title }) => [run.run, run.events, number, title]), this.#options]);
    if (runs.length < 2 || version === this.#drawn) return;
    this.#drawn = version;
    this.#drawResults(runs);
    this.#drawCurves(runs);
    for (const [name, chart] of Object.entries(chartsOf(runs, this.#options))) {
      const element = this.#parts[name];
      element.hidden = chart === null;
      if (chart) element.chart = chart;
      if (chart && !element.zoom) element.zoom = this.#options.range;
    }
    const plane = planeOf(runs, Math.min(640, this.clientWidth || 640));
    this.#parts.plane.hidden = plane === null;
    if (plane) this.#parts.plane.replaceChildren(...plane.filter(Boolean).map((node) => toDom(node)));
  }

  /** Draws the table, and the intervals if there is a new evaluation. */
  #drawResults(runs) {
    this.#parts.table.data = settingsTable(runs);
    const scored = JSON.stringify(runs.map(({ run, number }) => [run.run, number, Object.values(run.evals).map(({ x }) => x.length)]));
    if (scored === this.#scored) return;
    this.#scored = scored;
    const warning = meaningWarning(runs.map(({ run }) => run));
    this.#parts.differences.replaceChildren(toDom(warning ? h("p", { class: "bad" }, warning) : differencesView(runs)));
  }

  /** Offers the other curves of these runs. */
  #drawCurves(runs) {
    const { curves } = this.#parts;
    const offered = [["", "no other curve"], ...otherCurves(runs)];
    if (curves.length !== offered.length) curves.replaceChildren(...offered.map(([value, title]) => new Option(title, value)));
    curves.value = this.#options.also;
  }
}

/** Returns the names in the address of the page. */
function namesOfAddress() {
  const names = new URLSearchParams(location.search).get(KEY)?.split(",") ?? [];
  return [...new Set(names.filter(Boolean))].slice(0, MOST_RUNS);
}

/** Returns how the address says to draw them; what it does not say plainly is as usual. */
function optionsOfAddress() {
  const query = new URLSearchParams(location.search);
  const axis = Object.hasOwn(AXES, query.get("over")) ? query.get("over") : "step";
  const [from, to] = query.get("range")?.match(/^([\d.]+)-([\d.]+)$/)?.slice(1).map(Number) ?? [];
  const range = from < to ? [from, to] : null;
  return { axis, range, smooth: query.has("smooth"), log: query.get("scale") === "log", also: query.get("also") ?? "" };
}

/** Puts the runs into the address, and how they are drawn where that is not as usual. */
function rememberNames(names, { axis, smooth, log, range, also }) {
  const query = new URLSearchParams(location.search);
  for (const key of [KEY, "over", "scale", "smooth", "range", "also"]) query.delete(key);
  const own = [
    names.length && [KEY, names.map(encodeURIComponent).join(",")],
    axis !== "step" && ["over", axis],
    log && ["scale", "log"],
    smooth && ["smooth", "1"],
    range && ["range", range.map((place) => Number(place.toPrecision(6))).join("-")],
    also && ["also", encodeURIComponent(also)],
  ].filter(Boolean);
  const search = [query.toString(), ...own.map(([key, value]) => `${key}=${value}`)].filter(Boolean).join("&");
  history.replaceState(history.state, "", location.pathname + (search && `?${search}`) + location.hash);
}

customElements.define("run-compare", RunCompare);
