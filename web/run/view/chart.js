/**
 * `<run-chart>`: one line chart that grows while a run goes on. uPlot draws on canvas and keeps the
 * smallest and the largest value of every pixel column, so a spike stays visible at any length.
 * Direct labels at the line ends, exact numbers under the pointer or the arrow keys. Dragging, or + and
 * −, zoom into a stretch of steps; a double click, Escape or the button shows all of them again.
 */

import { h, toDom } from "../../figures/vnode.js";
import { turn } from "../../page/scheduling.js";
import { metricText } from "../../figures/number.js";
import { alignedData, chartOptions, clamped, stretched, xRange } from "./chart-options.js";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color name of a custom property, such as "--series-1"
 * @property {number[]} x rising optimizer steps
 * @property {number[]} y
 * @property {boolean} [dashed] planned rather than measured
 * @property {boolean} [faint] of an attempt that was given up
 * @property {boolean} [thin] one of several details
 * @property {boolean} [pale] the shadow of another line
 * @property {boolean} [dots] few points: mark each
 * @property {string} [end] text at the end of the line instead of the label; "" for none
 *
 * @typedef {object} Chart
 * @property {string} [of] the run: another one is shown from its start to its end
 * @property {string} title
 * @property {string} unit of the values: "nats", "1", …
 * @property {number} room pixels beside the plot for the words at the line ends
 * @property {string} note one sentence: what to look at
 * @property {Line[]} lines
 * @property {boolean} [zero] the axis starts at zero
 * @property {boolean} [log] the axis is logarithmic; every finite value is above zero
 * @property {number} [lastStep] right end of the axis; grows with the data
 * @property {number} [planned] how many steps there are to be
 * @property {{x: number, label: string, bad?: boolean}[]} [marks] vertical lines
 */

const NARROW = 420;

export class RunChart extends HTMLElement {
  #chart = null;
  #plot = null;
  #shape = "";
  #waits = false;
  #library = null;
  #parts = null;
  /** @type {[number, number] | null} */
  #zoom = null;
  #print = matchMedia("print");
  #resize = new ResizeObserver(() => this.#fit());
  #theme = new MutationObserver(() => this.#recolour());
  #system = matchMedia("(prefers-color-scheme: dark)");

  connectedCallback() {
    if (!this.#parts) this.#build();
    this.#resize.observe(this.#parts.stage);
    this.#theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.#system.addEventListener("change", this.#recolour);
    this.#print.addEventListener("change", this.#repaint);
  }

  disconnectedCallback() {
    this.#resize.disconnect();
    this.#theme.disconnect();
    this.#system.removeEventListener("change", this.#recolour);
    this.#print.removeEventListener("change", this.#repaint);
    this.#drop();
  }

  /** @param {Chart} chart */
  set chart(chart) {
    const isOther = chart.of !== this.#chart?.of;
    this.#chart = chart;
    if (!this.#parts) this.#build();
    if (this.#plot && this.#plot.data.length !== chart.lines.length + 1) this.#drop(); // it has other lines
    if (isOther) this.#zoomTo(null);
    this.#parts.title.textContent = chart.title;
    this.#parts.note.textContent = chart.note;
    this.#parts.legend.replaceChildren(toDom(lineLegend(chart.lines)));
    this.#draw();
  }

  get chart() {
    return this.#chart;
  }

  #build() {
    const make = (tag, className) => Object.assign(document.createElement(tag), { className });
    const head = make("div", "pair run-chart-head");
    const title = make("h4", "run-chart-title");
    const all = Object.assign(make("button", "button-link run-chart-all"), { type: "button", hidden: true });
    const legend = make("div", "run-lines");
    const stage = make("div", "run-stage");
    const foot = make("div", "run-chart-foot");
    const readout = make("p", "run-readout soft numeric");
    const note = make("p", "run-chart-note quiet");
    all.textContent = "Show all steps";
    all.addEventListener("click", () => this.#zoomTo(null) || stage.focus());
    Object.assign(stage, { tabIndex: 0 });
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-roledescription", "chart");
    readout.setAttribute("aria-live", "polite");
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("blur", () => this.#plot?.setCursor({ left: -10, top: -10 }));
    this.#parts = { title, all, readout, legend, stage, note };
    head.append(title, all);
    foot.append(readout, note);
    this.replaceChildren(head, legend, stage, foot);
  }

  async #draw() {
    if (this.#waits) return;
    this.#waits = true;
    this.#library ??= await import("uplot").then((module) => module.default, () => null);
    await turn();
    this.#waits = false;
    if (!this.isConnected || !this.#chart || !this.#library) return; // not to be had just now: next time
    const { stage } = this.#parts;
    stage.setAttribute("aria-label", `${this.#chart.title}. Arrow keys read the values, plus and minus zoom.`);
    const data = alignedData(this.#chart.lines);
    stage.toggleAttribute("data-empty", data[0].length === 0);
    if (data[0].length === 0) return this.#drop();
    const shape = JSON.stringify([this.#chart.log, this.#chart.lines.map((l) => [l.color, l.dashed, l.faint, l.thin, l.pale, l.dots])]);
    if (this.#plot && shape === this.#shape) return this.#plot.setData(data);
    this.#shape = shape;
    this.#make(data);
  }

  #make(data) {
    this.#drop();
    const { stage } = this.#parts;
    const options = chartOptions({
      width: stage.clientWidth || 320,
      height: stage.clientHeight || 224,
      isNarrow: stage.clientWidth < NARROW,
      chart: () => this.#chart,
      style: getComputedStyle(this),
      zoom: () => this.#zoom,
      onSelect: (range) => this.#zoomTo(range),
      onReset: () => this.#zoomTo(null),
      onRange: (low, high) => (stage.dataset.range = `${low} ${high}`),
      onCursor: (index) => this.#read(index),
    });
    this.#plot = new this.#library(options, data, stage);
  }

  #drop() {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.#parts) this.#parts.readout.textContent = "";
  }

  #fit() {
    const width = this.#parts.stage.clientWidth;
    if (!this.#plot || !width || width === this.#plot.width) return;
    const crosses = width < NARROW !== this.#plot.width < NARROW;
    if (crosses) this.#recolour(); // the words move between the line ends and the legend
    else this.#plot.setSize({ width, height: this.#plot.height });
  }

  #recolour = () => {
    this.#shape = "";
    if (this.#chart) this.#draw();
  };

  /** Paper has its own colours, and waits for nothing: this is drawn before it is printed. */
  #repaint = () => {
    if (this.#plot) this.#make(this.#plot.data);
  };

  /** @param {[number, number] | null} range steps; null for all of them */
  #zoomTo(range) {
    if (range === null) this.#zoom = null;
    this.#parts.all.hidden = this.#zoom === null;
    if (!this.#plot) return;
    const whole = xRange(this.#chart, this.#plot.data[0]);
    this.#zoom = range && clamped(range, whole);
    this.#parts.all.hidden = this.#zoom === null;
    const [min, max] = this.#zoom ?? whole;
    this.#plot.setScale("x", { min, max });
  }

  /** The values at the data point under the cursor, or nothing. */
  #read(index) {
    const { readout } = this.#parts;
    if (index === null || index === undefined || !this.#plot) {
      readout.textContent = "";
      return;
    }
    const [steps, ...columns] = this.#plot.data;
    const values = this.#chart.lines
      .map((line, place) => [line.label, columns[place][index]])
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([label, value]) => `${label} ${metricText(value, this.#chart.unit)}`);
    readout.textContent = [`step ${steps[index]}`, ...values].join(" · ");
  }

  #key(event) {
    if (!this.#plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (factor) this.#zoomTo(stretched(this.#shown, this.#plot.data[0][this.#at], factor));
    else if (event.key === "Escape" && this.#zoom) this.#zoomTo(null);
    else if (!this.#step(event.key)) return;
    event.preventDefault();
  }

  get #shown() {
    const { min, max } = this.#plot.scales.x;
    return [min, max];
  }

  /** The data point under the cursor, or the last one to be seen. */
  get #at() {
    const [steps] = this.#plot.data;
    const [, to] = this.#shown;
    return this.#plot.cursor.idx ?? Math.max(0, steps.findLastIndex((step) => step <= to));
  }

  #step(key) {
    const [steps] = this.#plot.data;
    const [from, to] = this.#shown;
    const first = steps.findIndex((step) => step >= from);
    const last = steps.findLastIndex((step) => step <= to);
    const isRead = this.#plot.cursor.idx !== null && this.#plot.cursor.idx !== undefined;
    const moves = { ArrowLeft: this.#at - Number(isRead), ArrowRight: this.#at + Number(isRead), Home: first, End: last };
    if (!Object.hasOwn(moves, key) || first < 0 || last < first) return false;
    const index = Math.max(first, Math.min(last, moves[key]));
    this.#plot.setCursor({ left: this.#plot.valToPos(steps[index], "x"), top: 10 });
    return true;
  }
}

/**
 * @param {Line[]} lines
 * @returns {import("../../figures/vnode.js").VNode} empty when no line has a name
 */
export function lineLegend(lines) {
  const named = lines.filter((line) => line.end !== "");
  return h("ul", { class: "legend" }, named.map(lineName));
}

function lineName({ color, dashed, end, label }) {
  const key = h("span", { class: `run-key ${color.slice(2)}${dashed ? " run-key-dashed" : ""}` });
  return h("li", null, key, end ?? label);
}

customElements.define("run-chart", RunChart);
