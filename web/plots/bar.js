/** Bars, side by side or stacked, standing on zero, each with its number where there is room. */

import { barSpans } from "./extent.js";
import { hatchPath } from "./hatch.js";
import { shortText } from "./number.js";
import { FONT_SIZE } from "./size.js";
import { textWidth } from "./text.js";
import { h } from "../figures/vnode.js";

const BAR_SHARE = 0.62;
const WIDEST_BAR = 88;

function round(pixels) {
  return Math.round(pixels * 10) / 10;
}

/** Left edge and width of the bar of one line in one band. */
function barBox({ plot, x }, lineIndex, index) {
  const group = Math.min(
    x.step * BAR_SHARE,
    WIDEST_BAR * (plot.type === "bar" ? plot.lines.length : 1),
  );
  const count = plot.type === "bar" ? plot.lines.length : 1;
  const place = plot.type === "bar" ? lineIndex : 0;
  const width = group / count;
  return {
    left: x.map(index) - group / 2 + place * width,
    width: Math.max(1, width - (count > 1 ? 2 : 0)),
  };
}

/**
 * All bars of a laid-out plot.
 * @param {object} layout from `layoutPlot`
 * @returns {import("../figures/vnode.js").VNode[]} one group a line
 */
export function barMarks(layout) {
  const { plot, y } = layout;
  const spans = barSpans(plot);
  return plot.lines.map((line, lineIndex) =>
    h(
      "g",
      line.paint,
      spans[lineIndex].map((span, index) => {
        if (!span || span[0] === span[1]) return null;
        const { left, width } = barBox(layout, lineIndex, index);
        const [top, bottom] = span.map(y.map).sort((a, b) => a - b);
        return barView(line, { left, top, width, height: Math.max(0.5, bottom - top) });
      }),
    ),
  );
}

/**
 * One bar, or one square of a legend.
 * @param {object} line from `readPlot`
 * @param {{left: number, top: number, width: number, height: number}} box pixels
 */
export function barView(line, box) {
  const dashed = line.isDashed ? " is-dashed" : "";
  const hatching = line.hatch === null ? "" : hatchPath(line.hatch, box);
  return [
    h("rect", {
      class: `plot-bar${dashed}`,
      x: round(box.left),
      y: round(box.top),
      width: round(box.width),
      height: round(box.height),
    }),
    hatching ? h("path", { class: "plot-hatch", d: hatching }) : null,
  ];
}

/**
 * Numbers above bars: the value of a lone bar, the height of a stack; none when they would touch.
 * @param {object} layout from `layoutPlot`
 */
export function barNumbers(layout) {
  const { plot, x, y } = layout;
  const spans = barSpans(plot);
  const rows =
    plot.type === "bar"
      ? spans.map((row, line) => ({ row, line }))
      : [{ row: stackTops(spans), line: 0 }];
  const numbers = rows
    .flatMap(({ row, line }) =>
      row.map((span, index) => {
        if (!span) return null;
        const { left, width } = barBox(layout, line, index);
        const at = span[1] < 0 ? y.map(span[1]) + 14 : y.map(span[1]) - 6;
        return { text: shortText(span[1]), x: left + width / 2, y: at };
      }),
    )
    .filter(Boolean);
  const space =
    plot.lines.length > 1 && plot.type === "bar" ? barBox(layout, 0, 0).width + 2 : x.step;
  if (numbers.some(({ text }) => textWidth(text, FONT_SIZE) > space - 2)) return null;
  return h(
    "g",
    { class: "plot-numbers" },
    numbers.map((each) =>
      h(
        "text",
        { class: "plot-number", x: round(each.x), y: round(each.y), "text-anchor": "middle" },
        each.text,
      ),
    ),
  );
}

function stackTops(spans) {
  return spans[0].map((_, index) => {
    const ends = spans
      .map((row) => row[index])
      .filter(Boolean)
      .map(([, end]) => end);
    return ends.length
      ? [0, ends.some((end) => end > 0) ? Math.max(...ends) : Math.min(...ends)]
      : null;
  });
}
