/** How a run's chart looks: uPlot's options out of our own tokens. */

import { exactText, tickLabels } from "../../figures/number.js";
import { logTicks } from "../../plots/scale.js";

const SHORTEST_DRAG = 8; // pixels: shorter ones are clicks
const GAP = 14; // pixels between two labels at line ends
const ROUND_STEPS = Array.from({ length: 25 }, (_, n) => n - 12).flatMap((power) =>
  [1, 2, 5].map((factor) => Number(`${factor}e${power}`)),
);

const ROUND_TICKS = { values: (_, ticks) => tickLabels(ticks), incrs: ROUND_STEPS };
const LOG_TICKS = {
  splits: (plot, _, low, high) => logTicks(low, high, Math.max(2, plot.height / 60)),
  filter: (_, ticks) => ticks,
  values: (_, ticks) => ticks.map(exactText),
};

/**
 * @param {object} view
 * @param {number} view.width pixels
 * @param {number} view.height pixels
 * @param {boolean} view.isNarrow no room for labels beside the plot
 * @param {() => import("./chart.js").Chart} view.chart the newest data
 * @param {CSSStyleDeclaration} view.style where the tokens are read
 * @param {() => [number, number] | null} view.zoom the steps to be seen; null for all
 * @param {(range: [number, number]) => void} view.onSelect a stretch of steps was dragged over
 * @param {() => void} view.onReset
 * @param {(low: number, high: number) => void} view.onRange these steps are shown now
 * @param {(index: number | null | undefined) => void} view.onCursor
 * @returns {object} options for uPlot
 */
export function chartOptions(view) {
  const color = (name) => view.style.getPropertyValue(name).trim();
  const font = `12px ${color("--font-ui")}`;
  const ink = color("--ink-3");
  const { zero, log, room } = view.chart();
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
      y: log
        ? { distr: 3, range: (_, low, high) => [low / 1.3, high * 1.3] }
        : { range: (_, low, high) => yRange(low, high, zero) },
    },
    axes: [
      { ...axis(font, ink, color("--rule")), grid: { show: false }, values: stepLabels, size: 28, space: 64 },
      { ...axis(font, ink, color("--rule")), ...(log ? LOG_TICKS : ROUND_TICKS), size: 46, space: 34 },
    ],
    series: [{}, ...view.chart().lines.map((line) => seriesOf(line, color))],
    hooks: {
      setScale: [(plot, key) => key === "x" && view.onRange(plot.scales.x.min, plot.scales.x.max)],
      setSelect: [(plot) => selected(plot, view.onSelect)],
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

/** From step 0 to what has been run, or to the planned end, where a live curve grows into its space. */
export function xRange({ lastStep }, steps) {
  return [Math.min(0, steps[0] ?? 0), Math.max(lastStep ?? 0, steps.at(-1) ?? 0, 1)];
}

/** The stretch under a drag; the box is taken away, as the chart shows it at once. */
function selected(plot, onSelect) {
  const { left, width } = plot.select;
  if (width < SHORTEST_DRAG) return;
  onSelect([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

function yRange(low, high, zero) {
  if (low === null || high === null) return [0, 1];
  const from = zero ? Math.min(0, low) : low;
  const pad = (high - from || Math.abs(high) || 1) * 0.06;
  return [zero ? from : from - pad, high + pad];
}

function stepLabels(_, ticks) {
  return tickLabels(ticks).map((label, index) => (Number.isInteger(ticks[index]) ? label : ""));
}

/** What the axes count: the unit above the values, "step" below, and how many more are planned. */
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
  if (isToCome) plot.ctx.fillText(`of ${exactText(planned)} planned`, left + width, top - 10 * ratio);
  plot.ctx.textAlign = "left";
  plot.ctx.fillText("step", left + 14 * ratio, top + height + 17 * ratio);
  plot.ctx.restore();
}

/** The name of each line beside its last point, pushed apart where they would touch. */
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

/** Vertical lines for what happened: a resume, a loss that is no number any more. */
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
 * @param {import("./chart.js").Line[]} lines each with rising x
 * @returns {(number | null | undefined)[][]} steps, then one column a line. `undefined` where a line
 *   has no point (it is drawn through), `null` where its value is not a finite number (a gap)
 */
export function alignedData(lines) {
  const steps = commonSteps(lines.map((line) => line.x));
  return [steps, ...lines.map((line) => column(line, steps))];
}

/**
 * Points that no line is drawn to, because there is no other one before the next gap: they need a dot.
 * @param {(number | null | undefined)[]} values a column of `alignedData`
 * @returns {number[]} their places
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
  const known = new Set(longest);
  const extra = lists.flatMap((x) => (x === longest ? [] : x.filter((step) => !known.has(step))));
  if (extra.length === 0) return longest.slice();
  return [...new Set([...longest, ...extra])].sort((a, b) => a - b);
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

const SHORTEST = 2; // steps: less is no line

/**
 * @param {[number, number]} range
 * @param {[number, number]} whole
 * @returns {[number, number] | null} the part of `range` inside `whole`, not too short; null for all
 */
export function clamped([low, high], [least, most]) {
  const length = Math.max(high - low, SHORTEST);
  if (length >= most - least) return null;
  const from = Math.max(least, Math.min(low, most - length));
  return [from, from + length];
}

/**
 * @param {[number, number]} range
 * @param {number} around the step that stays where it is
 * @param {number} factor below 1 shows less, above 1 more
 * @returns {[number, number]}
 */
export function stretched([low, high], around, factor) {
  return [around - (around - low) * factor, around + (high - around) * factor];
}
