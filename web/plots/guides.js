/** Guides: the axes and legends of every chart that is drawn as SVG, and the legend below a chart on canvas. */

import { barView, round } from "./marks.js";
import { FONT_SIZE, fitText, LEADING, textWidth } from "./text.js";
import { h } from "../figures/vnode.js";

const LABEL_GAP = 8;

/**
 * Draws horizontal grid lines with their numbers.
 * @param {{left: number, right: number}} frame pixels
 * @param {{at: number, label: string, isBase?: boolean}[]} ticks at: pixel y; isBase: zero, drawn stronger
 */
export function yAxisView({ left, right }, ticks) {
  return ticks.map(({ at, label, isBase = false }) => [
    h("path", { class: isBase ? "plot-rule plot-base" : "plot-rule", d: `M${round(left)},${round(at)}H${round(right)}` }),
    h("text", { class: "plot-tick", x: round(left - LABEL_GAP), y: round(at), dy: "0.35em", "text-anchor": "end" }, label),
  ]);
}

/**
 * Draws the ticks below a frame, with labels of one or several lines.
 * @param {number} bottom pixel y of the frame's end
 * @param {{at: number, rows: string[], anchor?: string}[]} ticks at: pixel x
 * @param {boolean} hasMarks whether a short line stands at each tick
 */
export function xAxisView(bottom, ticks, hasMarks) {
  return ticks.map(({ at, rows, anchor = "middle" }) => [
    hasMarks ? h("path", { class: "plot-tick-mark", d: `M${round(at)},${round(bottom)}v4` }) : null,
    rows.map((row, index) =>
      h("text", { class: "plot-tick", x: round(at), y: round(bottom + 17 + index * LEADING), "text-anchor": anchor }, row),
    ),
  ]);
}

/** Draws the title of an axis. @param {{x: number, y: number, anchor?: string}} place pixels */
export function axisTitleView(title, { x, y, anchor }) {
  return h("text", { class: "plot-axis-title", x: round(x), y: round(y), "text-anchor": anchor }, title);
}

const SWATCH = 14;
const GAP = 6;
const BETWEEN = 18;

/** Height of one row of entries, in pixels. */
export const LEGEND_ROW = 20;

/**
 * Lays out the entries of a legend in rows.
 * @param {object[]} lines from `readPlot`
 * @param {number} width pixels to fill
 * @returns {{entries: {line: object, x: number, row: number, text: string}[], rows: number}}
 */
export function legendLayout(lines, width) {
  const entries = [];
  let [x, row] = [0, 0];
  for (const line of lines.filter(({ label }) => label)) {
    const text = fitText(line.label, width - SWATCH - GAP, FONT_SIZE);
    const needed = SWATCH + GAP + textWidth(text, FONT_SIZE);
    if (x > 0 && x + needed > width) [x, row] = [0, row + 1];
    entries.push({ line, x, row, text });
    x += needed + BETWEEN;
  }
  return { entries, rows: entries.length ? row + 1 : 0 };
}

/**
 * Draws a legend above a plot, for bars and for lines whose names do not fit at their ends.
 * @param {object[]} entries from `legendLayout`
 * @param {number} top pixels
 * @param {boolean} isLine whether swatches are strokes or squares
 */
export function legendView(entries, top, isLine) {
  return h(
    "g",
    { class: "plot-legend" },
    entries.map(({ line, x, row, text }) => {
      const y = top + row * LEGEND_ROW + LEGEND_ROW / 2;
      const swatch = swatchView(line, { x, y, width: isLine ? SWATCH : 10, isLine });
      const words = h(
        "text",
        { class: "plot-legend-text", x: x + SWATCH + GAP, y, dy: "0.35em" },
        text,
      );
      return [swatch, words];
    }),
  );
}

/**
 * Draws the swatch of a line or of its bars: a stroke, or a square.
 * @param {object} line from `readPlot`
 * @param {{x: number, y: number, width: number, isLine: boolean}} place left edge and middle, pixels
 */
export function swatchView(line, { x, y, width, isLine }) {
  const dashed = line.isDashed ? " is-dashed" : "";
  const mark = isLine
    ? h("path", { class: `plot-line${dashed}`, d: `M${x},${y}h${width}` })
    : barView(line, { left: x + 0.5, top: y - width / 2, width, height: width });
  return h("g", line.paint, mark);
}

/**
 * Returns a legend as a list, for charts on canvas and for bars.
 * @param {{swatch: string, label: string}[]} entries swatch: its classes
 */
export function legendList(entries) {
  return h("ul", { class: "legend" }, entries.map(({ swatch, label }) => h("li", null, h("span", { class: swatch }), label)));
}
