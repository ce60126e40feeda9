/** Lines: a path for each, gaps where values are missing, dots where points are few. */

import { h } from "../figures/vnode.js";

const MOST_DOTTED_POINTS = 16;

function round(pixels) {
  return Math.round(pixels * 10) / 10;
}

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
 * Thins a stretch to what its pixels can show: of all points in one pixel column only the lowest
 * and the highest remain, in their order, and the two ends. The drawn line looks the same.
 * @param {number[]} xs pixel x of every index
 * @param {(number | null)[]} ys anything that rises or falls with pixel y
 * @param {number} first
 * @param {number} last
 * @returns {number[]} the indices that remain
 */
export function thinned(xs, ys, first, last) {
  const kept = [first];
  let start = first;
  for (let index = first + 1; index <= last + 1; index++) {
    if (index <= last && Math.floor(xs[index]) === Math.floor(xs[start])) continue;
    keepColumn(kept, ys, start, index - 1);
    start = index;
  }
  if (kept.at(-1) < last) kept.push(last);
  return kept;
}

function keepColumn(kept, ys, first, last) {
  let [low, high] = [first, first];
  for (let index = first + 1; index <= last; index++) {
    if (ys[index] < ys[low]) low = index;
    if (ys[index] > ys[high]) high = index;
  }
  const [near, far] = low < high ? [low, high] : [high, low];
  if (near > kept.at(-1)) kept.push(near);
  if (far > near) kept.push(far);
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
