/**
 * Where everything of a plot goes, in pixels, before anything is drawn. The picture and the cursor
 * read the same layout, so a dot lands on its line.
 */

import { xExtent, yExtent } from "./model.js";
import { endLabels, spread } from "./label.js";
import { LEGEND_ROW, legendLayout } from "./legend.js";
import { shortText } from "../figures/number.js";
import { bandScale, linearScale, logScale } from "./scale.js";
import { FONT_SIZE, heightFor, LEADING, NARROW_BELOW, textWidth, wrapText } from "./text.js";

const LABEL_GAP = 8;
const TICK_SPACING = 76;

/**
 * Lays out a plot that has data.
 * @param {object} plot from `readPlot`
 * @param {{width: number, height?: number}} opts pixels
 */
export function layoutPlot(plot, { width, height = heightFor(width) }) {
  const isNarrow = width < NARROW_BELOW;
  const axisTitle = plot.yLabel || plot.yUnit ? 22 : 8;
  const columnWidth = width * (isNarrow ? 0.27 : 0.24);
  const room = height - axisTitle - 50;
  const ends = endLabels(plot, { columnWidth, room, size: FONT_SIZE, leading: LEADING });
  const legend = needsLegend(plot, ends)
    ? legendLayout(plot.lines, width, FONT_SIZE)
    : { entries: [], rows: 0 };
  const legendHeight = legend.rows ? legend.rows * LEGEND_ROW + 6 : 0;
  const top = legendHeight + axisTitle + 10;
  const yCount = Math.max(2, Math.min(6, Math.round((height - top - 40) / 58)));
  const makeY = plot.yLog ? logScale : linearScale;
  const extent = yExtent(plot);
  const tickWidth = Math.max(
    ...makeY(extent, [1, 0], { count: yCount, nice: true }).ticks.map(({ label }) =>
      textWidth(label, FONT_SIZE),
    ),
  );
  const frame = {
    left: tickWidth + LABEL_GAP,
    right: width - rightMargin(ends.width),
    top,
    bottom: 0,
  };
  const x = xScale(plot, frame);
  const bands = plot.isCategory ? categoryTicks(x, frame) : numberTicks(x, frame, width);
  const titleHeight = plot.xLabel || plot.xUnit || plot.xLog ? LEADING + 5 : 0;
  frame.bottom = height - bands.rows * LEADING - titleHeight - 10;
  const y = makeY(extent, [frame.bottom, frame.top], { count: yCount, nice: true });
  return {
    plot,
    width,
    height,
    frame,
    x,
    y,
    xTicks: bands.ticks,
    legend,
    ends: placed(ends.labels, { plot, frame, x, y }),
  };
}

function needsLegend(plot, ends) {
  const named = plot.lines.filter(({ label }) => label).length;
  return !ends.namesLines && (named > 1 || (named === 1 && plot.type === "line"));
}

function rightMargin(labelWidth) {
  return labelWidth > 0 ? labelWidth + LABEL_GAP + 4 : 6;
}

function xScale(plot, frame) {
  const range = [frame.left, frame.right];
  if (plot.isCategory) return bandScale(plot.x.map(String), range);
  const make = plot.xLog ? logScale : linearScale;
  const count = Math.max(3, Math.floor((frame.right - frame.left) / TICK_SPACING));
  const scale = make(xExtent(plot), range, { count, nice: false });
  if (!plot.xLog || !doubles(plot.x)) return scale;
  return { ...scale, ticks: plot.x.map((value) => ({ value, label: shortText(value) })) };
}

/** Few whole numbers, each twice the one before: 1, 2, 4 … GPUs are read off at their own places. */
function doubles(values) {
  const few = values.length > 2 && values.length <= 10;
  return few && values.every((value, at) => Number.isInteger(value) && (at === 0 || value === 2 * values[at - 1]));
}

/** Numeric ticks; a label that would leave the picture is drawn towards the inside. */
function numberTicks(x, frame, width) {
  const ticks = x.ticks.map(({ value, label }) => {
    const at = x.map(value);
    const half = textWidth(label, FONT_SIZE) / 2;
    const anchor = at + half > width ? "end" : at - half < 0 ? "start" : "middle";
    return { at, rows: [label], anchor, half };
  });
  return { ticks: thinned(ticks), rows: 1 };
}

/** Category names, wrapped into their bands, every n-th when there are too many to read. */
function categoryTicks(x) {
  const stride = Math.max(1, Math.ceil(34 / x.step));
  const space = x.step * stride - 3;
  const ticks = x.ticks
    .filter(({ value }) => value % stride === 0)
    .map(({ value, label }) => ({
      at: x.map(value),
      rows: wrapText(label, space, FONT_SIZE, 3),
      anchor: "middle",
    }));
  return { ticks, rows: Math.max(1, ...ticks.map(({ rows }) => rows.length)) };
}

/** Drops labels that would run into the one before (log axes crowd). */
function thinned(ticks) {
  let edge = -Infinity;
  return ticks.map((tick) => {
    const fits = tick.at - tick.half > edge + 6;
    if (fits) edge = tick.at + tick.half;
    return fits ? tick : { ...tick, rows: [] };
  });
}

/** End labels with their place beside the frame and the point they belong to. */
function placed(labels, { plot, frame, x, y }) {
  const items = labels.map((label) => ({
    want: y.map(label.value),
    height: label.rows.length * LEADING + 2,
  }));
  const centres = spread(items, [frame.top - 18, frame.bottom + 8]);
  return labels.map((label, index) => {
    const pointX =
      label.index !== null
        ? x.map(plot.isCategory ? label.index : plot.x[label.index])
        : frame.right;
    return {
      ...label,
      x: frame.right + LABEL_GAP,
      y: centres[index],
      pointX,
      pointY: items[index].want,
    };
  });
}
