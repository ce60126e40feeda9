/**
 * The marks of a plot: bars side by side or stacked, with numbers where there is room, and lines with gaps where values
 * are missing and dots where points are few.
 */

import { h } from "../figures/vnode.js";
import { barSpans } from "./model.js";
import { formatShort } from "../figures/number.js";
import { FONT_SIZE, textWidth } from "./text.js";

const BAR_SHARE = 0.62;
const WIDEST_BAR = 88;

/** Rounds pixels to tenths, for shorter pages. */
export function round(pixels) {
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
        return { text: formatShort(span[1]), x: left + width / 2, y: at };
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

const MOST_DOTTED_POINTS = 16;

/** Stretches of a line between its gaps, as `[first, last]` indices. */
function stretches(values) {
  const all = [];
  let first = -1;
  for (let index = 0; index <= values.length; index++) {
    const isGap = index === values.length || values[index] === null;
    if (!isGap && first < 0) first = index;
    if (isGap && first >= 0) {
      all.push([first, index - 1]);
      first = -1;
    }
  }
  return all;
}

/**
 * Decimates a stretch to what its pixels can show: of all points in one pixel column only the lowest and the highest
 * remain, in their order, and the two ends. The drawn line looks the same.
 * @param {number[]} xs pixel x of every index
 * @param {(number | null)[]} ys anything that rises or falls with pixel y
 * @param {number} first
 * @param {number} last
 * @returns {number[]} the indices that remain
 */
export function thinned(xs, ys, first, last) {
  const indices = [first];
  let start = first;
  for (let index = first + 1; index <= last + 1; index++) {
    if (index <= last && Math.floor(xs[index]) === Math.floor(xs[start])) continue;
    addColumn(indices, ys, start, index - 1);
    start = index;
  }
  if (indices.at(-1) < last) indices.push(last);
  return indices;
}

function addColumn(indices, ys, first, last) {
  let [low, high] = [first, first];
  for (let index = first + 1; index <= last; index++) {
    if (ys[index] < ys[low]) low = index;
    if (ys[index] > ys[high]) high = index;
  }
  const [near, far] = low < high ? [low, high] : [high, low];
  if (near > indices.at(-1)) indices.push(near);
  if (far > near) indices.push(far);
}

function indicesOf(first, last) {
  return Array.from({ length: last - first + 1 }, (_, offset) => first + offset);
}

/** Pixel x of every data index. */
export function positionsOf({ plot, x }) {
  return plot.x.map((value, index) => x.map(plot.isCategory ? index : value));
}

function pathOf(indices, xs, values, y) {
  let path = "";
  for (const index of indices)
    path += `${path ? "L" : "M"}${round(xs[index])},${round(y.map(values[index]))}`;
  return path;
}

/**
 * All lines of a laid-out plot.
 * @param {object} layout from `layoutPlot`
 * @returns {import("../figures/vnode.js").VNode[]} one group a line
 */
export function lineMarks(layout) {
  const xs = positionsOf(layout);
  const { plot, y, width } = layout;
  const isDense = xs.length > 2 * width;
  return plot.lines.map((line) => {
    const drawn = stretches(line.values);
    const path = drawn
      .filter(([first, last]) => last > first)
      .map(([first, last]) =>
        isDense ? thinned(xs, line.values, first, last) : indicesOf(first, last),
      )
      .map((indices) => pathOf(indices, xs, line.values, y))
      .join("");
    const dashed = line.isDashed ? " is-dashed" : "";
    return h(
      "g",
      line.paint,
      path ? h("path", { class: `plot-line${dashed}`, d: path }) : null,
      dottedIndices(drawn, xs.length).map((index) =>
        h("circle", {
          class: "plot-dot",
          cx: round(xs[index]),
          cy: round(y.map(line.values[index])),
          r: 2.5,
        }),
      ),
    );
  });
}

/** Every point where points are few, else those that stand alone between gaps. */
function dottedIndices(drawn, count) {
  if (count <= MOST_DOTTED_POINTS) return drawn.flatMap(([first, last]) => indicesOf(first, last));
  return drawn.filter(([first, last]) => first === last).map(([first]) => first);
}

const SPACING = 6;

/**
 * Hatching of stacked areas, which touch: hidden on screen, drawn on paper and under high contrast, where
 * colours may not tell neighbours apart. Plain paths need no ids and no patterns.
 *
 * Strokes of each series in turn: none, rising, falling, level, upright, crossed.
 */
const KINDS = [[], ["rising"], ["falling"], ["level"], ["upright"], ["rising", "falling"]];

/** Corners of a diagonal at `offset` from the left edge, cut to a box of w × h. */
function diagonal(offset, { width, height }) {
  const from = Math.max(0, offset - height);
  const to = Math.min(width, offset);
  return to > from ? [from, offset - from, to, offset - to] : null; // x from, down, x to, down
}

function segments(kind, { left, top, width, height }) {
  const length = kind === "level" ? height : kind === "upright" ? width : width + height;
  const all = [];
  for (let offset = SPACING / 2; offset < length; offset += SPACING) {
    if (kind === "level") all.push([left, top + offset, left + width, top + offset]);
    else if (kind === "upright") all.push([left + offset, top, left + offset, top + height]);
    else {
      const cut = diagonal(offset, { width, height });
      if (!cut) continue;
      const [from, fromDown, to, toDown] = cut;
      const down = (y) => (kind === "rising" ? top + y : top + height - y);
      all.push([left + from, down(fromDown), left + to, down(toDown)]);
    }
  }
  return all;
}

/**
 * Returns path data that hatches a box with the pattern of one series.
 * @param {number} series index of the line in its plot
 * @param {{left: number, top: number, width: number, height: number}} box pixels
 * @returns {string} empty for the series without a pattern
 */
export function hatchPath(series, box) {
  return KINDS[series % KINDS.length]
    .flatMap((kind) => segments(kind, box))
    .map(([x1, y1, x2, y2]) => `M${round(x1)},${round(y1)}L${round(x2)},${round(y2)}`)
    .join("");
}
