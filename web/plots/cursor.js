/** The cursor of a plot, moved by the pointer or the arrow keys: which point it is at, and its values. */

import { fitText, FONT_SIZE, LEADING, textWidth } from "./text.js";
import { swatchView } from "./guides.js";
import { positionsOf } from "./marks.js";
import { formatColumn, formatNumber, withUnit } from "../figures/number.js";
import { h } from "../figures/vnode.js";

const PAD = 9;
const SWATCH = 12;
const ROW = LEADING + 3;

/**
 * Returns every position of the cursor, from left to right.
 * @param {object} layout from `layoutPlot`
 * @returns {{index: number, at: number}[]} data index and pixel x
 */
export function cursorStops(layout) {
  const stops = positionsOf(layout).map((at, index) => ({ index, at }));
  return stops.sort((left, right) => left.at - right.at);
}

/** Returns the index of the stop nearest to pixel `at`. */
export function nearestStop(stops, at) {
  let [low, high] = [0, stops.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (stops[middle].at < at) low = middle + 1;
    else high = middle;
  }
  return low > 0 && at - stops[low - 1].at < stops[low].at - at ? low - 1 : low;
}

/**
 * Returns the values at one data index, with units; the topmost bar of a stack first.
 * @param {object} plot from `readPlot`
 * @param {number} index
 * @returns {{head: string, rows: {name: string, value: string, line: object | null}[]}}
 */
export function readout(plot, index) {
  const x = plot.x[index];
  const place = typeof x === "number" ? withUnit(formatNumber(x), plot.xUnit) : x;
  const head = plot.xLabel && typeof x === "number" ? `${plot.xLabel} ${place}` : place;
  const texts = formatColumn(plot.lines.map((line) => line.values[index]));
  const rows = plot.lines.map((line, place) => ({
    name: line.label || plot.yLabel || "Value",
    value: texts[place] === null ? "no value" : withUnit(texts[place], plot.yUnit),
    line,
  }));
  return { head: head || "–", rows: plot.type === "stacked_bar" ? rows.reverse() : rows };
}

/** Returns the values as one sentence for a live region. */
export function readoutText({ head, rows }) {
  return `${head}: ${rows.map(({ name, value }) => `${name} ${value}`).join(", ")}`;
}

/**
 * Draws the cursor: rule or band, a dot on every line, and a tooltip with the values.
 * @param {object} layout from `layoutPlot`
 * @param {{index: number, at: number}} stop
 */
export function cursorView(layout, stop) {
  const { plot, frame, x } = layout;
  const isLine = plot.type === "line";
  const mark = isLine
    ? h("path", { class: "plot-cursor-rule", d: `M${stop.at},${frame.top}V${frame.bottom}` })
    : h("rect", {
        class: "plot-cursor-band",
        x: stop.at - x.step / 2,
        y: frame.top,
        width: x.step,
        height: frame.bottom - frame.top,
      });
  return h(
    "g",
    { class: "plot-cursor", "aria-hidden": "true" },
    mark,
    isLine ? dots(layout, stop) : null,
    tip(layout, stop),
  );
}

function dots({ plot, y }, { index, at }) {
  return plot.lines
    .filter((line) => line.values[index] !== null)
    .map((line) =>
      h(
        "g",
        line.paint,
        h("circle", { class: "plot-dot", cx: at, cy: y.map(line.values[index]), r: 4 }),
      ),
    );
}

/** Returns the rows in the order of their dots, the highest first. */
function byHeight(rows, index) {
  const height = ({ line }) => line.values[index] ?? -Infinity;
  return rows.toSorted((left, right) =>
    height(right) > height(left) ? 1 : height(right) < height(left) ? -1 : 0,
  );
}

/** Returns the rows that fit the frame, and a last one with the number of the others. */
function fittingRows(rows, height) {
  const most = Math.max(1, Math.floor((height - ROW - 2 * PAD) / ROW));
  if (rows.length <= most) return rows;
  const more = { name: `${rows.length - most + 1} more under “Show data”`, value: "", line: null };
  return [...rows.slice(0, most - 1), more];
}

function tip(layout, stop) {
  const { plot, frame, width } = layout;
  const { head, rows } = readout(plot, stop.index);
  const shown = fittingRows(
    plot.type === "line" ? byHeight(rows, stop.index) : rows,
    frame.bottom - frame.top,
  );
  const valueWidth = Math.max(...shown.map(({ value }) => textWidth(value, FONT_SIZE)));
  const nameSpace = Math.max(40, Math.min(190, width * 0.62 - valueWidth - 2 * PAD - SWATCH - 14));
  const named = shown.map((row) => ({ ...row, name: fitText(row.name, nameSpace, FONT_SIZE) }));
  const inner = Math.max(
    Math.min(textWidth(head, FONT_SIZE), width - 4 * PAD),
    ...named.map(({ name }) => SWATCH + textWidth(name, FONT_SIZE) + 14 + valueWidth),
  );
  const box = { width: inner + 2 * PAD, height: ROW * (named.length + 1) + PAD + 5 };
  const left = tipLeft(layout, stop.at, box.width);
  return h(
    "g",
    {
      class: "plot-tip",
      transform: `translate(${left.toFixed(1)},${tipTop(layout, box, left).toFixed(1)})`,
    },
    h("rect", { class: "plot-tip-box", width: box.width.toFixed(1), height: box.height, rx: 3 }),
    h("text", { class: "plot-tip-head", x: PAD, y: PAD + 9 }, fitText(head, inner, FONT_SIZE)),
    named.map((row, index) =>
      tipRow(row, PAD + 9 + ROW * (index + 1), PAD + inner, plot.type === "line"),
    ),
  );
}

/** Places the tooltip beside the rule, on the side with room, or over it where neither side has room. */
function tipLeft({ plot, x, width }, at, boxWidth) {
  const gap = plot.type === "line" ? 12 : x.step / 2 + 4;
  if (at + gap + boxWidth <= width) return at + gap;
  if (at - gap - boxWidth >= 0) return at - gap - boxWidth;
  return Math.max(0, Math.min(width - boxWidth, at - boxWidth / 2));
}

/** Places the tooltip at the top or the bottom of the frame, whichever covers fewer points. */
function tipTop(layout, box, left) {
  const { plot, frame, y } = layout;
  const [top, bottom] = [frame.top + 2, Math.max(frame.top + 2, frame.bottom - box.height - 6)];
  if (plot.type !== "line") return top;
  const near = positionsOf(layout).flatMap((at, index) =>
    at >= left && at <= left + box.width ? [index] : [],
  );
  const hidden = (from) => {
    let count = 0;
    for (const { values } of plot.lines) {
      for (const index of near) {
        const height = values[index] === null ? NaN : y.map(values[index]);
        if (height >= from && height <= from + box.height) count++;
      }
    }
    return count;
  };
  return hidden(top) <= hidden(bottom) ? top : bottom;
}

function tipRow({ name, value, line }, y, right, isLine) {
  return [
    line ? swatchView(line, { x: PAD, y: y - 4, width: 8, isLine }) : null,
    h("text", { class: "plot-tip-name", x: PAD + SWATCH, y }, name),
    h("text", { class: "plot-tip-value", x: right.toFixed(1), y, "text-anchor": "end" }, value),
  ];
}
