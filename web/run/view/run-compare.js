/**
 * `<run-compare>`: up to eight runs over one another: the settings in which they differ beside their results, their curves, and
 * the plane of what they learned and kept. Which runs is in the address, as `runs/?compare=RUN,RUN`, and how they are drawn:
 * `&over=tokens&scale=log&smooth=1&range=FROM-TO&also=METRIC&against=NUMBER`. `<run-list>` chooses them. Of runs of this machine an outline
 * is drawn first, and then the whole logs are read.
 */

import "../../tables/data-table.js";
import { checkbox, make, textButton } from "../../figures/tools.js";
import { h, toDom } from "../../figures/vnode.js";
import { AXES, meaningWarning } from "../compare.js";
import { isData } from "../fold.js";
import { COMPARED, comparedOfAddress, remember, RunWatch } from "../watch.js";
import { linkCharts } from "./chart.js";
import { saveButton } from "./sections.js";
import { planner } from "../../python/planner-client.js";
import { baseOf, chartsOf, comparedLosses, differencesView, otherCurves, planeOf, settingsTable } from "./compare-view.js";

const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--ink", "--c-workspace"];
const DRAW_MS = 300;
const CHARTS = ["task", "general", "right", "plane", "also"];

export class RunCompare extends HTMLElement {
  /** @type {{key: string, kind: string, name: string, title: string, watch: RunWatch, outlined: Promise<void> | null}[]} */
  #chosen = [];
  #parts = null;
  #options = {};
  #timer = 0;
  #drawn = "";
  #scored = "";

  /**
   * Shows runs over one another; one that is shown already is not read again.
   * @param {{key: string, kind: "live" | "page" | "recording" | "file", name: string, title: string, bytes?: number, status?: string}[]} runs
   *   in the order of their numbers, with the status that their log alone does not tell; none: it is closed
   */
  show(runs) {
    const isNew = this.#parts === null && runs.length > 0;
    if (isNew) this.#build();
    const kept = this.#chosen.filter(({ key, watch }) => runs.some((run) => run.key === key) || watch.stop());
    this.#chosen = runs.map((run) => ({ ...(kept.find(({ key }) => key === run.key) ?? this.#follow(run)), ...run }));
    for (const { watch, bytes = 0 } of this.#chosen) watch.followGrowth(bytes);
    void this.#readWhole(this.#chosen.filter(({ key }) => !kept.some((one) => one.key === key)));
    if (runs.length === 0) return this.#close();
    this.#remember(isNew && comparedOfAddress().length === 0);
    this.#later();
  }

  #close() {
    this.replaceChildren();
    this.#parts = null;
    this.#drawn = this.#scored = "";
  }

  /** Builds the frame, with the options of the address. */
  #build() {
    this.#options = optionsOfAddress();
    const body = make("div", { className: "stack", hidden: true });
    const reading = make("p", { className: "soft", role: "status" });
    const axis = this.#select("axis", "Over ", Object.entries(AXES));
    const also = this.#select("also", "Also ", [["", "no other curve"]]);
    const boxes = [this.#option("smooth", "Moving average"), this.#option("log", "Log scale")];
    const tools = make("div", { className: "row run-tools soft" }, axis, ...boxes, also, saveButton(() => this.#save()));
    const [table, against, differences] = [make("data-table"), make("p", { className: "row soft" }), make("div")];
    const charts = make("div", { className: "stack run-charts" });
    linkCharts(charts);
    charts.addEventListener("chart-zoom", ({ detail }) => this.#set({ range: detail }));
    this.#parts = { body, reading, table, against, differences, curves: also.lastChild, plane: make("figure", { className: "run-figure" }) };
    for (const name of CHARTS) charts.append((this.#parts[name] ??= document.createElement("run-chart")));
    body.append(tools, table, against, differences, charts);
    this.replaceChildren(reading, body);
  }

  #select(name, text, choices) {
    const select = make("select", { className: "field-input", name }, ...choices.map(([value, title]) => new Option(title, value)));
    select.value = this.#options[name];
    select.addEventListener("change", () => this.#set({ [name]: select.value, ...(name === "axis" ? { range: null } : {}) }));
    return make("label", {}, text, select);
  }

  #option(name, text) {
    return checkbox(text, this.#options[name], (isOn) => this.#set({ [name]: isOn }));
  }

  #set(options) {
    Object.assign(this.#options, options);
    this.#remember();
    this.#draw();
  }

  #remember(isNew = false) {
    const names = this.#chosen.filter(({ kind }) => kind !== "file").map(({ name }) => name); // files are in no address
    remember(queryOf(names, this.#options), isNew);
  }

  #follow(run) {
    const watch = new RunWatch();
    watch.addEventListener("change", () => this.#later());
    if (run.kind === "live") return { watch, outlined: watch.outlineLive(run.name) };
    void watch.show(run);
    return { watch, outlined: null };
  }

  /** Reads the whole logs of runs of this machine, once the outlines of all of them are drawn. */
  async #readWhole(added) {
    const live = added.filter(({ outlined }) => outlined);
    if (live.length === 0) return;
    await Promise.all(live.map(({ outlined }) => outlined));
    this.#draw();
    await new Promise((drawn) => setTimeout(drawn, DRAW_MS));
    for (const { name, watch } of live) if (this.#chosen.some((one) => one.watch === watch)) watch.showLive(name);
  }

  #later() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, DRAW_MS);
  }

  /** @returns {import("./compare-view.js").Compared[]} */
  #compared() {
    const all = this.#chosen.map(({ kind, name, title, watch: { run }, status }, index) => {
      const told = kind === "file" && run.end === null ? "not ended in this file" : status;
      return { run, number: index + 1, color: COLORS[index], name, title, status: told };
    });
    return all.filter(({ run }) => run.events > 0 && !isData(run));
  }

  async #save() {
    const { savePoints } = await import("./points.js");
    await Promise.all(this.#chosen.map(({ watch }) => watch.readWhole()));
    savePoints(this.#compared().map(({ run, name }) => ({ ...run, run: name }))); // logs may share a name
  }

  #draw() {
    if (!this.#parts) return; // closed meanwhile
    const runs = this.#compared();
    this.#parts.body.hidden = runs.length < 2;
    this.#parts.reading.textContent = runs.length < 2 ? this.#chosen.map(readingText).filter(Boolean).join(" ") : "";
    const version = JSON.stringify([runs.map(({ run, number, title, status }) => [run.run, run.events, number, title, status]), this.#options]);
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
    const { plane } = this.#parts;
    plane.hidden = false; // it is as wide as its place
    const drawn = planeOf(runs, Math.min(640, plane.clientWidth || 640));
    plane.hidden = drawn === null;
    if (drawn) plane.replaceChildren(...drawn.filter(Boolean).map((node) => toDom(node)));
  }

  /** Draws the table, and the intervals if there is a new evaluation. */
  #drawResults(runs) {
    this.#parts.table.data = settingsTable(runs);
    this.#drawAgainst(runs);
    const scored = JSON.stringify([this.#options.against, runs.map(({ run, number }) => [run.run, number, Object.values(run.evals).map(({ x }) => x.length)])]);
    if (scored === this.#scored) return;
    this.#scored = scored;
    void this.#drawDifferences(runs, scored);
  }

  async #drawDifferences(runs, scored) {
    const { differences } = this.#parts;
    const { against } = this.#options;
    const warning = meaningWarning(runs.map(({ run }) => run));
    if (warning) return differences.replaceChildren(toDom(h("p", { class: "bad" }, warning)));
    const losses = comparedLosses(runs, against).map((pair) => pair.losses);
    const intervals = losses.length ? await planner.ask("held_out.paired_differences", losses) : [];
    if (scored === this.#scored) differences.replaceChildren(toDom(differencesView(runs, against, intervals)));
  }

  /** Offers each run, where there are three or more, as that which the others are held against. */
  #drawAgainst(runs) {
    const { against } = this.#parts;
    const base = baseOf(runs, this.#options.against).number;
    const drawn = JSON.stringify(runs.map(({ number, title }) => [number, title]));
    against.hidden = runs.length < 3;
    if (against.dataset.drawn !== drawn) {
      against.dataset.drawn = drawn;
      const buttons = runs.map(({ number, title }) => Object.assign(textButton("chip", `${number}`, () => this.#set({ against: number })), { title }));
      against.replaceChildren("Differences from run ", ...buttons);
    }
    for (const button of against.children) button.setAttribute("aria-pressed", String(button.textContent === `${base}`));
  }

  /** Offers the other curves of these runs. */
  #drawCurves(runs) {
    const { curves } = this.#parts;
    const offered = [["", "no other curve"], ...otherCurves(runs)];
    if (curves.length !== offered.length) curves.replaceChildren(...offered.map(([value, title]) => new Option(title, value)));
    curves.value = this.#options.also;
  }
}

/** Says of a run why it is not drawn. */
function readingText({ title, watch: { run, stream, problem } }) {
  if (isData(run)) return `${title} has no curves: nothing was trained.`;
  if (run.events > 0) return "";
  return stream === "unreadable" || stream === "missing" ? problem || `${title} is not here.` : `${title} is being read.`;
}

/** Returns how the address says to draw them; what it does not say plainly is as usual. */
function optionsOfAddress() {
  const query = new URLSearchParams(location.search);
  const axis = Object.hasOwn(AXES, query.get("over")) ? query.get("over") : "step";
  const [from, to] = query.get("range")?.match(/^([\d.]+)-([\d.]+)$/)?.slice(1).map(Number) ?? [];
  const range = from < to ? [from, to] : null;
  return { axis, range, smooth: query.has("smooth"), log: query.get("scale") === "log", also: query.get("also") ?? "", against: Number(query.get("against")) || 1 };
}

/** Returns the query of these runs, and of how they are drawn where that is not as usual. */
function queryOf(names, { axis, smooth, log, range, also, against }) {
  const parts = [
    names.length && [COMPARED, names.map(encodeURIComponent).join(",")],
    axis !== "step" && ["over", axis],
    log && ["scale", "log"],
    smooth && ["smooth", "1"],
    range && ["range", range.map((place) => Number(place.toPrecision(6))).join("-")],
    also && ["also", encodeURIComponent(also)],
    against > 1 && ["against", against],
  ].filter(Boolean);
  return parts.map(([key, value]) => `${key}=${value}`).join("&");
}

customElements.define("run-compare", RunCompare);
