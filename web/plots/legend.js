/** A legend above the plot, for bars and for lines whose names do not fit at their ends. */

import { barView } from "./marks.js";
import { fitText, textWidth } from "./text.js";
import { h } from "../figures/vnode.js";

const SWATCH = 14;
const GAP = 6;
const BETWEEN = 18;

/** Height of one row of entries, in pixels. */
export const LEGEND_ROW = 20;

/**
 * Sets entries in rows from left to right.
 * @param {object[]} lines from `readPlot`
 * @param {number} width pixels to fill
 * @param {number} size font size
 * @returns {{entries: {line: object, x: number, row: number, text: string}[], rows: number}}
 */
export function legendLayout(lines, width, size) {
  const entries = [];
  let [x, row] = [0, 0];
  for (const line of lines.filter(({ label }) => label)) {
    const text = fitText(line.label, width - SWATCH - GAP, size);
    const needed = SWATCH + GAP + textWidth(text, size);
    if (x > 0 && x + needed > width) [x, row] = [0, row + 1];
    entries.push({ line, x, row, text });
    x += needed + BETWEEN;
  }
  return { entries, rows: entries.length ? row + 1 : 0 };
}

/**
 * The drawn legend.
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
 * The sign a line or its bars go by: a stroke, or a square.
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
