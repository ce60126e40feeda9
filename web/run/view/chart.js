/**
 * `<run-chart>`: one line chart that grows while a run goes on. uPlot draws it on canvas and keeps the smallest and the
 * largest value of every pixel column, so a spike stays visible at any length; its axes have the scales, ticks and labels
 * of plots. Lines are labelled at their ends, and the pointer or the arrow keys show exact values. Dragging, or + and −,
 * zoom into a range of steps; a double click, Escape or the button shows all of them again. Charts that `linkCharts` joins
 * share cursor and zoom.
 */

import { formatMetric, formatNumber, tickLabels } from "../../figures/number.js";
import { make, textButton } from "../../figures/tools.js";
import { legendList } from "../../plots/guides.js";
import { coveringTicks } from "../../plots/scale.js";
import { h, toDom } from "../../figures/vnode.js";
import { alignedData, extentOf, GAP, keyOf, lonePoints, moveApart, nearestPlace, nextPlace, thinned, valueAt, valueScale, xRange } from "./chart-data.js";

/** @typedef {import("./chart-data.js").Chart} Chart */

const NARROW = 420; // pixels: below, names are in the legend
const SHORTEST_DRAG = 8; // pixels: shorter ones are clicks
const SHORTEST_RANGE = 2; // steps
const SMALLEST = 1e-9; // of two places that are not the same

export class RunChart extends HTMLElement {
  #chart = null;
  #plot = null;
  #shape = "";
  #isWaiting = false;
  #library = null;
  #parts = null;
  /** @type {[number, number] | null} */
  #zoom = null;
  /** @type {number | null} the place under the cursor */
  #at = null;
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
    if (this.#plot && this.#plot.data.length !== chart.lines.length + 1) this.#drop(); // of other lines
    if (isOther) this.zoom = this.#at = null;
    this.#parts.title.textContent = chart.title;
    this.#parts.note.textContent = chart.note;
    this.#parts.legend.replaceChildren(toDom(lineLegend(chart.lines)));
    this.#draw();
  }

  get chart() {
    return this.#chart;
  }

  #build() {
    const title = make("h3", { className: "run-chart-title" });
    const legend = make("div", { className: "run-lines" });
    const stage = make("div", { className: "run-stage", tabIndex: 0, role: "application", "aria-roledescription": "chart" });
    const readout = make("p", { className: "run-readout soft numeric", "aria-live": "polite" });
    const note = make("p", { className: "run-chart-note quiet" });
    const all = textButton("button-link run-chart-all", "Show all steps", () => this.#zoomTo(null) || stage.focus());
    all.hidden = true;
    const saves = make("span", { className: "run-chart-saves" }, ...["svg", "png"].map((kind) => this.#saveButton(kind)));
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("blur", () => this.#point(null));
    stage.addEventListener("pointermove", (event) => this.#pointAt(event));
    for (const end of ["pointerdown", "pointerleave"]) stage.addEventListener(end, () => this.#point(null));
    this.#parts = { title, all, readout, legend, stage, note };
    const head = make("div", { className: "pair run-chart-head" }, title, all, saves);
    this.replaceChildren(head, legend, stage, make("div", { className: "run-chart-foot" }, readout, note));
  }

  #saveButton(kind) {
    const save = async () => (await import("./chart-picture.js")).saveChart(this.#chart, kind, this.#zoom ?? undefined);
    return Object.assign(textButton("figure-button", kind.toUpperCase(), save), { title: "Save this chart" });
  }

  async #draw() {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#library ??= await import("uplot").then((module) => module.default, () => null);
    await nextTask();
    this.#isWaiting = false;
    if (!this.isConnected || !this.#chart || !this.#library) return; // uPlot could not be loaded: the next event tries again
    const { stage } = this.#parts;
    stage.setAttribute("aria-label", `${this.#chart.title}. Arrow keys read the values, plus and minus zoom.`);
    const data = this.#data();
    stage.toggleAttribute("data-empty", data[0].length === 0);
    if (data[0].length === 0) return this.#drop();
    const shape = JSON.stringify([this.#chart.log, this.#chart.lines.map((l) => [l.color, l.dashed, l.faint, l.thin, l.pale, l.dots])]);
    if (this.#plot && shape === this.#shape) this.#plot.setData(data);
    else {
      this.#shape = shape;
      this.#make(data);
    }
    this.cursor = this.#at;
  }

  /** Returns what uPlot draws: lines that are long have the points of the range in sight. */
  #data() {
    return alignedData(this.#chart.lines.map((line) => thinned(line, this.#zoom)));
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
      place: () => this.#at,
      onSelect: (range) => this.#zoomTo(range),
      onReset: () => this.#zoomTo(null),
      onRange: (low, high) => (stage.dataset.range = `${low} ${high}`),
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
    if (crosses) this.#recolour(); // the labels move between the line ends and the legend
    else this.#plot.setSize({ width, height: this.#plot.height });
  }

  #recolour = () => {
    this.#shape = "";
    if (this.#chart) this.#draw();
  };

  /** Draws at once, in the colours of paper, before the page is printed. */
  #repaint = () => {
    if (this.#plot) this.#make(this.#plot.data);
  };

  /** The range in sight, null for all; a chart beside this one may set it. @param {[number, number] | null} range */
  set zoom(range) {
    this.#zoom = range;
    if (this.#parts) this.#parts.all.hidden = range === null;
    if (!this.#plot || !this.#chart) return;
    this.#plot.setData(this.#data(), false);
    const [min, max] = range ?? xRange(this.#chart);
    this.#plot.setScale("x", { min, max });
    this.cursor = this.#at;
  }

  get zoom() {
    return this.#zoom;
  }

  /** The place that is read, null for none; a chart beside this one may set it. @param {number | null} place */
  set cursor(place) {
    this.#at = place;
    if (!this.#plot) return;
    const left = place === null ? -10 : this.#plot.valToPos(place, "x");
    this.#plot.setCursor({ left: left > this.#plot.over.clientWidth ? -10 : left, top: 10 });
    this.#parts.readout.replaceChildren(...(place === null ? [] : [toDom(readoutView(this.#chart, place))]));
  }

  /** Zooms, and the charts beside this one with it. @param {[number, number] | null} range null for all steps */
  #zoomTo(range) {
    if (!this.#plot) return;
    this.zoom = range && clampRange(range, xRange(this.#chart));
    this.dispatchEvent(new CustomEvent("chart-zoom", { detail: this.zoom, bubbles: true }));
  }

  /** Reads a place, and in the charts beside this one too: only of this one a screen reader speaks. */
  #point(place) {
    if (place === null && this.#at === null) return;
    this.#parts.readout.setAttribute("aria-live", "polite");
    this.cursor = place;
    this.dispatchEvent(new CustomEvent("chart-cursor", { detail: place, bubbles: true }));
  }

  #pointAt({ target, offsetX, buttons }) {
    if (!this.#plot || target !== this.#plot.over || buttons) return; // a drag zooms
    this.#point(nearestPlace(this.#chart.lines, this.#plot.posToVal(offsetX, "x")));
  }

  /** @param {number | null} place where a chart beside this one is read */
  follow(place) {
    this.#parts?.readout.setAttribute("aria-live", "off");
    this.cursor = place;
  }

  #key(event) {
    if (!this.#plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (factor) this.#zoomTo(stretchRange(this.#shown, this.#at ?? this.#shown[1], factor));
    else if (event.key === "Escape" && this.#zoom) this.#zoomTo(null);
    else if (!this.#step(event.key)) return;
    event.preventDefault();
  }

  get #shown() {
    const { min, max } = this.#plot.scales.x;
    return [min, max];
  }

  #step(key) {
    const { lines } = this.#chart;
    const [from, to] = this.#shown;
    const [first, last] = [nextPlace(lines, from - SMALLEST, true), nextPlace(lines, to + SMALLEST, false)];
    const besides = (isRight) => (this.#at === null ? last : nextPlace(lines, this.#at, isRight) ?? this.#at);
    const moves = { ArrowLeft: () => besides(false), ArrowRight: () => besides(true), Home: () => first, End: () => last };
    if (!Object.hasOwn(moves, key) || first === null || last === null || last < first) return false;
    this.#point(Math.max(first, Math.min(last, moves[key]())));
    return true;
  }
}

/** Joins the charts in an element, those that come later too: one cursor and one range in sight. @param {HTMLElement} element */
export function linkCharts(element) {
  const others = ({ target }) => [...element.querySelectorAll("run-chart")].filter((chart) => chart !== target);
  element.addEventListener("chart-cursor", (event) => others(event).forEach((chart) => chart.follow(event.detail)));
  element.addEventListener("chart-zoom", (event) => others(event).forEach((chart) => (chart.zoom = event.detail)));
}

/** Returns the values of all lines at a place: of each its newest one, with its own place where that lies before. */
function readoutView({ lines, unit, axis = "step" }, place) {
  const values = lines.map((line) => [line, valueAt(line, place)]).filter(([line, found]) => found && !line.faint);
  const valueView = ([line, { x, y }]) => [
    " · ",
    h("span", { class: keyOf(line), "aria-hidden": "true" }),
    `${line.label} ${formatMetric(y, unit)}`,
    x < place && h("span", { class: "faint" }, ` at ${formatNumber(x)}`),
  ];
  return h("span", null, `${axis} ${formatNumber(place)}`, values.map(valueView));
}

/** Returns the legend for a narrow chart; it is empty when no line has a name. @param {Chart["lines"]} lines */
function lineLegend(lines) {
  const named = lines.filter((line) => line.end !== "");
  return legendList(named.map((line) => ({ swatch: keyOf(line), label: line.end ?? line.label })));
}

/**
 * Returns uPlot's options for a chart: our colours, scales and labels.
 * @param {object} view
 * @param {number} view.width pixels
 * @param {number} view.height pixels
 * @param {boolean} view.isNarrow no room for labels beside the plot
 * @param {() => Chart} view.chart the newest data
 * @param {CSSStyleDeclaration} view.style with the custom properties
 * @param {() => [number, number] | null} view.zoom the range of steps; null for all
 * @param {() => number | null} view.place the one that is read: the cursor stands on it
 * @param {(range: [number, number]) => void} view.onSelect called after a drag
 * @param {() => void} view.onReset
 * @param {(low: number, high: number) => void} view.onRange called with the range of steps that is drawn
 */
function chartOptions(view) {
  const color = (name) => view.style.getPropertyValue(name).trim();
  const font = `12px ${color("--font-ui")}`;
  const ink = color("--ink-3");
  const { log, room } = view.chart();
  let y = yScale(view, null, null);
  const yTicks = { splits: () => y.ticks.map(({ value }) => value), values: () => y.ticks.map(({ label }) => label) };
  return {
    width: view.width,
    height: view.height,
    padding: [24, view.isNarrow ? 24 : room, 0, 0],
    legend: { show: false },
    cursor: {
      drag: { x: true, y: false, setScale: false, dist: SHORTEST_DRAG },
      bind: { dblclick: () => view.onReset },
      points: { size: 7 },
      dataIdx: (plot, series, index, place) => (place > view.chart().lines[series - 1]?.x.at(-1) ? null : drawnAt(plot.data[series], index)),
      move: (plot, left, top) => [left < 0 || view.place() === null ? left : plot.valToPos(view.place(), "x"), top],
      y: false,
    },
    scales: {
      x: { time: false, range: () => view.zoom() ?? xRange(view.chart()) },
      y: { distr: log ? 3 : 1, range: (_, low, high) => (y = yScale(view, low, high)).domain },
    },
    axes: [
      { ...axis(font, ink, color("--rule")), splits: (...given) => stepTicks(view.chart(), ...given), values: (_, places) => placeLabels(view.chart(), places), grid: { show: false }, size: 28 },
      { ...axis(font, ink, color("--rule")), ...yTicks, filter: (_, ticks) => ticks, size: 46 },
    ],
    series: [{}, ...view.chart().lines.map((line) => seriesOf(line, color))],
    hooks: {
      setScale: [(plot, key) => key === "x" && view.onRange(plot.scales.x.min, plot.scales.x.max)],
      setSelect: [(plot) => select(plot, view.onSelect)],
      draw: [
        (plot) => drawUnits(plot, view.chart(), font, ink),
        (plot) => drawMarks(plot, view.chart().marks ?? [], font, color),
        (plot) => view.isNarrow || drawEnds(plot, view.chart().lines, font, color),
      ],
    },
  };
}

function axis(font, ink, rule) {
  return {
    font,
    stroke: ink,
    grid: { stroke: rule, width: 1 },
    ticks: { show: false },
    gap: 6,
  };
}

function seriesOf(line, color) {
  return {
    label: line.label,
    stroke: color(line.faint ? "--ink-3" : line.color),
    width: line.faint || line.thin ? 1 : 1.75,
    alpha: line.faint ? 0.55 : line.pale ? 0.45 : 1,
    dash: line.dashed ? [5, 4] : undefined,
    spanGaps: false,
    points: {
      show: Boolean(line.dots),
      size: 6,
      fill: color(line.color),
      filter: (plot, index) => (line.dots ? null : lonePoints(plot.data[index])),
    },
  };
}

/** Returns the index of the newest drawn value at or before an index; null where there is none. */
function drawnAt(values, index) {
  let at = index;
  while (at >= 0 && values[at] === undefined) at -= 1;
  return at < 0 ? null : at;
}

/** Passes on the range of a drag, and removes uPlot's box. */
function select(plot, onSelect) {
  const { left, width } = plot.select;
  if (width < SHORTEST_DRAG) return;
  onSelect([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** Returns round places of the axis, as of plots; of steps whole ones. */
function stepTicks({ axis = "step" }, plot, _, low, high) {
  const ticks = coveringTicks(low, high, Math.max(3, Math.floor(plot.width / 84)));
  return ticks.filter((place) => (axis !== "step" || Number.isInteger(place)) && place >= low && place <= high);
}

/** Returns the texts of ticks; the first of steps says so. */
function placeLabels({ axis = "step" }, places) {
  return tickLabels(places).map((label, index) => (index === 0 && axis === "step" ? `step ${label}` : label));
}

/** Returns the scale of the values, as of plots. */
function yScale(view, low, high) {
  return valueScale(view.chart(), low === null || high === null ? null : [low, high], [view.height, 0]);
}

/** Draws the unit above the values, an axis other than steps, and the planned number of steps. */
function drawUnits(plot, { unit, planned = 0, axis = "step", lines }, font, ink) {
  const ratio = devicePixelRatio;
  const { left, top, width } = plot.bbox;
  plot.ctx.save();
  plot.ctx.font = font.replace("12px", `${12 * ratio}px`);
  plot.ctx.fillStyle = ink;
  plot.ctx.textBaseline = "alphabetic";
  plot.ctx.textAlign = "right";
  const shown = unit === "1" ? "" : unit === "seconds" ? "s" : unit;
  const unitEnd = Math.max(left - 6 * ratio, plot.ctx.measureText(shown).width); // a long one reaches over the picture
  plot.ctx.fillText(shown, unitEnd, top - 10 * ratio);
  const isToCome = planned > Math.max(plot.scales.x.max, extentOf(lines)[1]);
  if (isToCome) plot.ctx.fillText(`of ${formatNumber(planned)} planned`, left + width, top - 10 * ratio);
  if (axis !== "step") plot.ctx.fillText(`over ${axis}`, left + width, top - 10 * ratio);
  plot.ctx.restore();
}

/** Draws the name of each line beside its last point, moved apart where they would touch. */
function drawEnds(plot, lines, font, color) {
  const ratio = devicePixelRatio;
  const ends = lines
    .map((line, index) => endOf(plot, line, plot.data[index + 1]))
    .filter((end) => end !== null);
  moveApart(ends, GAP * ratio, plot.bbox.top + plot.bbox.height);
  plot.ctx.save();
  plot.ctx.font = font.replace("12px", `${12 * ratio}px`);
  plot.ctx.textBaseline = "middle";
  plot.ctx.textAlign = "left";
  for (const { line, x, y } of ends) {
    plot.ctx.fillStyle = color(line.color);
    plot.ctx.fillText(line.end ?? line.label, x + 8 * ratio, y);
  }
  plot.ctx.restore();
}

function endOf(plot, line, values) {
  if (line.end === "") return null;
  const { min, max } = plot.scales.x;
  const isSeen = (value, at) => value !== null && value !== undefined && plot.data[0][at] <= max;
  const index = values.findLastIndex(isSeen);
  if (index < 0 || plot.data[0][index] < min) return null;
  const x = plot.valToPos(plot.data[0][index], "x", true);
  return { line, x, y: plot.valToPos(values[index], "y", true) };
}

/** Draws vertical lines for a resume, or a loss that is not finite. */
function drawMarks(plot, marks, font, color) {
  const ratio = devicePixelRatio;
  const { left, top, width, height } = plot.bbox;
  plot.ctx.save();
  plot.ctx.font = font.replace("12px", `${11 * ratio}px`);
  for (const { x, label, bad } of marks) {
    const at = plot.valToPos(x, "x", true);
    if (at < left || at > left + width) continue;
    plot.ctx.strokeStyle = plot.ctx.fillStyle = color(bad ? "--bad" : "--ink-3");
    plot.ctx.lineWidth = ratio;
    plot.ctx.beginPath();
    plot.ctx.moveTo(at, top - 8 * ratio);
    plot.ctx.lineTo(at, top + height);
    plot.ctx.stroke();
    const isLate = at > left + width / 2;
    plot.ctx.textAlign = isLate ? "right" : "left";
    plot.ctx.fillText(label, at + (isLate ? -5 : 5) * ratio, top - 5 * ratio);
  }
  plot.ctx.restore();
}

/**
 * @param {[number, number]} range
 * @param {[number, number]} whole
 * @returns {[number, number] | null} the part of `range` inside `whole`, not too short; null for all
 */
export function clampRange([low, high], [least, most]) {
  const length = Math.max(high - low, SHORTEST_RANGE);
  if (length >= most - least) return null;
  const from = Math.max(least, Math.min(low, most - length));
  return [from, from + length];
}

/**
 * @param {[number, number]} range
 * @param {number} around the step that stays in place
 * @param {number} factor below 1 zooms in, above 1 out
 * @returns {[number, number]}
 */
export function stretchRange([low, high], around, factor) {
  return [around - (around - low) * factor, around + (high - around) * factor];
}

let lastTask = Promise.resolve();

/** Resolves in a task of its own, after those requested before: several charts are drawn without blocking input. */
function nextTask() {
  lastTask = lastTask.then(() => new Promise((resolve) => setTimeout(resolve)));
  return lastTask;
}

customElements.define("run-chart", RunChart);
