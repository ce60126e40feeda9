/**
 * `<run-chart>`: one line chart that grows while a run goes on. uPlot draws it on canvas and keeps the smallest and the
 * largest value of every pixel column, so a spike stays visible at any length; its axes have the scales, ticks and labels
 * of plots. Lines are labelled at their ends, and the pointer or the arrow keys show exact values. Dragging, or + and −,
 * zoom into a range of steps; a double click, Escape or the button shows all of them again.
 */

import { formatMetric, formatNumber, tickLabels } from "../../figures/number.js";
import { toDom } from "../../figures/vnode.js";
import { legendList } from "../../plots/guides.js";
import { coveringTicks, linearScale, logScale } from "../../plots/scale.js";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color name of a custom property, such as "--series-1"
 * @property {number[]} x rising optimizer steps
 * @property {number[]} y
 * @property {boolean} [dashed] planned rather than measured
 * @property {boolean} [faint] of an attempt that was abandoned
 * @property {boolean} [thin] one of several details
 * @property {boolean} [pale] the shadow of another line
 * @property {boolean} [dots] few points: mark each
 * @property {string} [end] text at the end of the line instead of the label; "" for none
 *
 * @typedef {object} Chart
 * @property {string} [of] the run: another one resets the zoom
 * @property {string} title
 * @property {string} unit of the values: "nats", "1", …
 * @property {number} room pixels beside the plot for the labels at the line ends
 * @property {string} note one sentence: what to look at
 * @property {Line[]} lines
 * @property {boolean} [zero] the axis starts at zero
 * @property {boolean} [log] the axis is logarithmic; every finite value is above zero
 * @property {number} [lastStep] right end of the axis; grows with the data
 * @property {number} [planned] planned steps
 * @property {{x: number, label: string, bad?: boolean}[]} [marks] vertical lines
 */

const NARROW = 420; // pixels: below, names are in the legend
const SHORTEST_DRAG = 8; // pixels: shorter ones are clicks
const SHORTEST_RANGE = 2; // steps
const GAP = 14; // pixels between two labels at line ends

export class RunChart extends HTMLElement {
  #chart = null;
  #plot = null;
  #shape = "";
  #isWaiting = false;
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
    if (this.#plot && this.#plot.data.length !== chart.lines.length + 1) this.#drop(); // of other lines
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
    const title = make("h3", "run-chart-title");
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
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#library ??= await import("uplot").then((module) => module.default, () => null);
    await nextTask();
    this.#isWaiting = false;
    if (!this.isConnected || !this.#chart || !this.#library) return; // uPlot could not be loaded: the next event tries again
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
      onCursor: (index) => this.#showValues(index),
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

  /** @param {[number, number] | null} range steps; null for all of them */
  #zoomTo(range) {
    if (range === null) this.#zoom = null;
    this.#parts.all.hidden = this.#zoom === null;
    if (!this.#plot) return;
    const whole = xRange(this.#chart, this.#plot.data[0]);
    this.#zoom = range && clampRange(range, whole);
    this.#parts.all.hidden = this.#zoom === null;
    const [min, max] = this.#zoom ?? whole;
    this.#plot.setScale("x", { min, max });
  }

  /** Shows the values at the data point under the cursor, or nothing. */
  #showValues(index) {
    const { readout } = this.#parts;
    if (index === null || index === undefined || !this.#plot) {
      readout.textContent = "";
      return;
    }
    const [steps, ...columns] = this.#plot.data;
    const values = this.#chart.lines
      .map((line, place) => [line.label, columns[place][index]])
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([label, value]) => `${label} ${formatMetric(value, this.#chart.unit)}`);
    readout.textContent = [`step ${steps[index]}`, ...values].join(" · ");
  }

  #key(event) {
    if (!this.#plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (factor) this.#zoomTo(stretchRange(this.#shown, this.#plot.data[0][this.#at], factor));
    else if (event.key === "Escape" && this.#zoom) this.#zoomTo(null);
    else if (!this.#step(event.key)) return;
    event.preventDefault();
  }

  get #shown() {
    const { min, max } = this.#plot.scales.x;
    return [min, max];
  }

  /** The index of the data point under the cursor, or of the last one in sight. */
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
    const hasCursor = this.#plot.cursor.idx !== null && this.#plot.cursor.idx !== undefined;
    const moves = { ArrowLeft: this.#at - Number(hasCursor), ArrowRight: this.#at + Number(hasCursor), Home: first, End: last };
    if (!Object.hasOwn(moves, key) || first < 0 || last < first) return false;
    const index = Math.max(first, Math.min(last, moves[key]));
    this.#plot.setCursor({ left: this.#plot.valToPos(steps[index], "x"), top: 10 });
    return true;
  }
}

/** Returns the legend for a narrow chart; it is empty when no line has a name. @param {Line[]} lines */
function lineLegend(lines) {
  const named = lines.filter((line) => line.end !== "");
  const swatch = ({ color, dashed }) => `run-key ${color.slice(2)}${dashed ? " run-key-dashed" : ""}`;
  return legendList(named.map((line) => ({ swatch: swatch(line), label: line.end ?? line.label })));
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
 * @param {(range: [number, number]) => void} view.onSelect called after a drag
 * @param {() => void} view.onReset
 * @param {(low: number, high: number) => void} view.onRange called with the range of steps that is drawn
 * @param {(index: number | null | undefined) => void} view.onCursor
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
      y: false,
    },
    scales: {
      x: { time: false, range: (plot) => view.zoom() ?? xRange(view.chart(), plot.data[0]) },
      y: { distr: log ? 3 : 1, range: (_, low, high) => (y = yScale(view, low, high)).domain },
    },
    axes: [
      { ...axis(font, ink, color("--rule")), splits: stepTicks, values: (_, steps) => tickLabels(steps), grid: { show: false }, size: 28 },
      { ...axis(font, ink, color("--rule")), ...yTicks, filter: (_, ticks) => ticks, size: 46 },
    ],
    series: [{}, ...view.chart().lines.map((line) => seriesOf(line, color))],
    hooks: {
      setScale: [(plot, key) => key === "x" && view.onRange(plot.scales.x.min, plot.scales.x.max)],
      setSelect: [(plot) => select(plot, view.onSelect)],
      setCursor: [(plot) => view.onCursor(plot.cursor.left < 0 ? null : plot.cursor.idx)],
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

/** Returns the range from step 0 to the last one, or to the planned end. */
function xRange({ lastStep }, steps) {
  return [Math.min(0, steps[0] ?? 0), Math.max(lastStep ?? 0, steps.at(-1) ?? 0, 1)];
}

/** Passes on the range of a drag, and removes uPlot's box. */
function select(plot, onSelect) {
  const { left, width } = plot.select;
  if (width < SHORTEST_DRAG) return;
  onSelect([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** Returns round whole steps, as of plots. */
function stepTicks(plot, _, low, high) {
  const ticks = coveringTicks(low, high, Math.max(3, Math.floor(plot.width / 84)));
  return ticks.filter((step) => Number.isInteger(step) && step >= low && step <= high);
}

/** Returns the scale of the values, as of plots. */
function yScale(view, low, high) {
  const { log, zero } = view.chart();
  const isEmpty = low === null || high === null;
  const extent = isEmpty ? [Number(log), 1] : [zero && !log ? Math.min(0, low) : low, high];
  const count = Math.max(2, Math.round(view.height / 48));
  return (log ? logScale : linearScale)(extent, [view.height, 0], { count, nice: true });
}

/** Draws the unit above the values, "step" below, and the planned number of steps. */
function drawUnits(plot, { unit, planned = 0 }, font, ink) {
  const ratio = devicePixelRatio;
  const { left, top, width, height } = plot.bbox;
  plot.ctx.save();
  plot.ctx.font = font.replace("12px", `${12 * ratio}px`);
  plot.ctx.fillStyle = ink;
  plot.ctx.textBaseline = "alphabetic";
  plot.ctx.textAlign = "right";
  if (unit !== "1") plot.ctx.fillText(unit === "seconds" ? "s" : unit, left - 6 * ratio, top - 10 * ratio);
  const isToCome = planned > Math.max(plot.scales.x.max, plot.data[0].at(-1));
  if (isToCome) plot.ctx.fillText(`of ${formatNumber(planned)} planned`, left + width, top - 10 * ratio);
  plot.ctx.textAlign = "left";
  plot.ctx.fillText("step", left + 14 * ratio, top + height + 17 * ratio);
  plot.ctx.restore();
}

/** Draws the name of each line beside its last point, moved apart where they would touch. */
function drawEnds(plot, lines, font, color) {
  const ratio = devicePixelRatio;
  const ends = lines
    .map((line, index) => endOf(plot, line, plot.data[index + 1]))
    .filter((end) => end !== null)
    .sort((a, b) => a.y - b.y);
  ends.forEach((end, index) => {
    if (index > 0) end.y = Math.max(end.y, ends[index - 1].y + GAP * ratio);
  });
  const lowest = plot.bbox.top + plot.bbox.height;
  ends.findLast((end, index) => {
    end.y = Math.min(end.y, lowest - (ends.length - 1 - index) * GAP * ratio);
    return false;
  });
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
 * Aligns lines for uPlot.
 * @param {Line[]} lines each with rising x
 * @returns {(number | null | undefined)[][]} steps, then one column a line. `undefined` where a line
 *   has no point (it is drawn through), `null` where its value is not a finite number (a gap)
 */
export function alignedData(lines) {
  const steps = commonSteps(lines.map((line) => line.x));
  return [steps, ...lines.map((line) => column(line, steps))];
}

/**
 * Finds points that no line reaches, because their neighbours are gaps: they are drawn as dots.
 * @param {(number | null | undefined)[]} values a column of `alignedData`
 * @returns {number[]} their indices
 */
export function lonePoints(values) {
  const lone = [];
  let last = -1; // of the stretch without a gap that ends here
  let count = 0;
  const close = () => count === 1 && lone.push(last);
  values.forEach((value, place) => {
    if (value === undefined) return;
    if (value === null) {
      close();
      count = 0;
    } else {
      last = place;
      count += 1;
    }
  });
  close();
  return lone;
}

function commonSteps(lists) {
  const longest = lists.reduce((a, b) => (b.length > a.length ? b : a), []);
  const extra = new Set(lists.flatMap((x) => (x === longest ? [] : stepsBeside(longest, x))));
  const steps = [];
  let place = 0;
  for (const step of [...extra].sort((a, b) => a - b)) {
    while (longest[place] < step) steps.push(longest[place++]);
    steps.push(step);
  }
  return steps.length ? steps.concat(longest.slice(place)) : longest.slice();
}

/** The steps of `x` that are not in `known`; both rise, so each is walked once. */
function stepsBeside(known, x) {
  let place = 0;
  return x.filter((step) => {
    while (known[place] < step) place += 1;
    return known[place] !== step;
  });
}

function column({ x, y }, steps) {
  const values = new Array(steps.length).fill(undefined);
  let place = 0;
  for (let index = 0; index < x.length; index += 1) {
    while (steps[place] < x[index]) place += 1;
    values[place] = Number.isFinite(y[index]) ? y[index] : null;
  }
  return values;
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
