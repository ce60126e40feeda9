/** Lines: a path for each, gaps where values are missing, dots where points are few. */

import { h } from "./vnode.js";

const MOST_DOTTED_POINTS = 16;

function round(pixels) {
  return Math.round(pixels * 10) / 10;
}

/** Pixel runs of a line between its gaps, as `[x, y][]`. */
function runs(line, positions, y) {
  const all = [];
  let run = null;
  line.values.forEach((value, index) => {
    if (value === null) run = null;
    else {
      if (!run) all.push((run = []));
      run.push([positions[index], y.map(value)]);
    }
  });
  return all;
}

/**
 * Thins a run to what its pixels can show: of all points in one pixel column only the first, the
 * lowest, the highest and the last remain, in their order. The drawn line looks the same.
 * @param {[number, number][]} run
 * @returns {[number, number][]}
 */
export function decimate(run) {
  const kept = [];
  let start = 0;
  for (let index = 1; index <= run.length; index++) {
    if (index < run.length && Math.floor(run[index][0]) === Math.floor(run[start][0])) continue;
    kept.push(...columnPoints(run, start, index - 1));
    start = index;
  }
  return kept;
}

function columnPoints(run, first, last) {
  let [low, high] = [first, first];
  for (let index = first; index <= last; index++) {
    if (run[index][1] < run[low][1]) low = index;
    if (run[index][1] > run[high][1]) high = index;
  }
  return [...new Set([first, Math.min(low, high), Math.max(low, high), last])].map(
    (index) => run[index],
  );
}

function pathOf(run) {
  return run.map(([x, y], index) => `${index ? "L" : "M"}${round(x)},${round(y)}`).join("");
}

/** Pixel x of every data index. */
export function positionsOf({ plot, x }) {
  return plot.x.map((value, index) => x.map(plot.isCategory ? index : value));
}

/**
 * All lines of a laid-out plot.
 * @param {object} layout from `layoutPlot`
 * @returns {import("./vnode.js").VNode[]} one group a line
 */
export function lineMarks(layout) {
  const positions = positionsOf(layout);
  const isDense = positions.length > 2 * layout.width;
  const isSparse = positions.length <= MOST_DOTTED_POINTS;
  return layout.plot.lines.map((line) => {
    const drawn = runs(line, positions, layout.y);
    const path = drawn
      .map((run) => (run.length > 1 ? pathOf(isDense ? decimate(run) : run) : ""))
      .join("");
    const dotted = isSparse ? drawn.flat() : drawn.filter((run) => run.length === 1).flat();
    return h(
      "g",
      line.paint,
      path ? h("path", { class: `plot-line${line.isDashed ? " is-dashed" : ""}`, d: path }) : null,
      dotted.map(([x, y]) =>
        h("circle", { class: "plot-dot", cx: round(x), cy: round(y), r: 2.5 }),
      ),
    );
  });
}
