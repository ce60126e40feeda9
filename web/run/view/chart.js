/**
 * `<run-chart>`: one line chart that grows while a run goes on. uPlot draws on canvas and keeps the
 * smallest and the largest value of every pixel column, so a spike stays visible at any length.
 * Direct labels at the line ends, exact numbers under the pointer or the arrow keys.
 */

import { alignedData } from "./align.js";
import { chartOptions } from "./chart-options.js";
import { lineLegend } from "./legend.js";
import { metricText } from "../number.js";
import { turn } from "../../page/turn.js";
import { toDom } from "../../figures/vnode.js";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color name of a custom property, such as "--series-1"
 * @property {number[]} x rising optimizer steps
 * @property {number[]} y
 * @property {boolean} [dashed] planned rather than measured
 * @property {boolean} [faint] of an attempt that was given up
 * @property {boolean} [thin] one of several details
 * @property {boolean} [dots] few points: mark each
 * @property {string} [end] text at the end of the line instead of the label; "" for none
 *
 * @typedef {object} Chart
 * @property {string} title
 * @property {string} unit of the values: "nats", "1", …
 * @property {number} room pixels beside the plot for the words at the line ends
 * @property {string} note one sentence: what to look at
 * @property {Line[]} lines
 * @property {boolean} [zero] the axis starts at zero
 * @property {boolean} [log] the axis is logarithmic; every finite value is above zero
 * @property {number} [lastStep] right end of the axis; grows with the data
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
  #resize = new ResizeObserver(() => this.#fit());
  #theme = new MutationObserver(() => this.#recolour());
  #system = matchMedia("(prefers-color-scheme: dark)");

  connectedCallback() {
    if (!this.#parts) this.#build();
    this.#resize.observe(this.#parts.stage);
    this.#theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.#system.addEventListener("change", this.#recolour);
    addEventListener("beforeprint", this.#repaint);
  }

  disconnectedCallback() {
    this.#resize.disconnect();
    this.#theme.disconnect();
    this.#system.removeEventListener("change", this.#recolour);
    removeEventListener("beforeprint", this.#repaint);
    this.#drop();
  }

  /** @param {Chart} chart */
  set chart(chart) {
    this.#chart = chart;
    if (!this.#parts) this.#build();
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
    const head = make("div", "run-chart-head");
    const title = make("h4", "run-chart-title");
    const readout = make("p", "run-readout");
    const legend = make("div", "run-lines");
    const stage = make("div", "run-stage");
    const note = make("p", "run-chart-note");
    Object.assign(stage, { tabIndex: 0 });
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-roledescription", "chart");
    readout.setAttribute("aria-live", "polite");
    stage.addEventListener("keydown", (event) => this.#step(event));
    stage.addEventListener("blur", () => this.#plot?.setCursor({ left: -10, top: -10 }));
    this.#parts = { title, readout, legend, stage, note };
    head.append(title, readout);
    this.replaceChildren(head, legend, stage, note);
  }

  async #draw() {
    if (this.#waits) return;
    this.#waits = true;
    this.#library ??= import("uplot").then((module) => (this.#library = module.default));
    if (this.#library instanceof Promise) await this.#library;
    await turn();
    this.#waits = false;
    if (!this.isConnected || !this.#chart) return;
    const { stage } = this.#parts;
    stage.setAttribute("aria-label", `${this.#chart.title}. Arrow keys read the values.`);
    const data = alignedData(this.#chart.lines);
    stage.toggleAttribute("data-empty", data[0].length === 0);
    if (data[0].length === 0) return this.#drop();
    const shape = JSON.stringify([this.#chart.log, this.#chart.lines.map((l) => [l.color, l.dashed, l.faint, l.thin, l.dots])]);
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

  /** In the colours of this moment, at once: a printer does not wait. */
  #repaint = () => {
    if (this.#plot) this.#make(alignedData(this.#chart.lines));
  };

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

  #step(event) {
    const last = this.#plot ? this.#plot.data[0].length - 1 : -1;
    const at = this.#plot?.cursor.idx ?? last;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (last < 0 || !(event.key in moves)) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(last, moves[event.key]));
    const left = this.#plot.valToPos(this.#plot.data[0][index], "x");
    this.#plot.setCursor({ left, top: 10 });
  }
}

customElements.define("run-chart", RunChart);
