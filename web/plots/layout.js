/**
 * Where everything of a plot goes, in pixels, before anything is drawn. The picture and the cursor use the same layout, so
 * a dot lies on its line. Labels beside the ends of lines and thresholds are moved apart, so that none covers another.
 */

import { formatNumber, formatShort, withUnit } from "../figures/number.js";
import { LEGEND_ROW, legendLayout } from "./guides.js";
import { xExtent, yExtent } from "./model.js";
import { bandScale, linearScale, logScale } from "./scale.js";
import { FONT_SIZE, heightFor, LEADING, NARROW_BELOW, textWidth, wrapText } from "./text.js";

const LABEL_GAP = 8;
/** From here on, in pixels, a name and the end of its line are joined by a stroke. */
export const FAR = 24;
const TICK_SPACING = 76;
const MOST_DIRECT_LABELS = 16;

/**
 * Lays out a plot that has data. Names stand at the ends of lines, unless one would be joined to its line across others.
 * @param {object} plot from `readPlot`
 * @param {{width: number, height?: number}} opts pixels
 */
export function layoutPlot(plot, { width, height = heightFor(width) }) {
  const layout = layoutWith(plot, width, height, true);
  return layout.ends.some((end) => crosses(end, layout)) ? layoutWith(plot, width, height, false) : layout;
}

function layoutWith(plot, width, height, mayNameLines) {
  const isNarrow = width < NARROW_BELOW;
  const axisTitle = plot.yLabel || plot.yUnit ? 22 : 8;
  const columnWidth = width * (isNarrow ? 0.27 : 0.24);
  const room = height - axisTitle - 50;
  const ends = endLabels(plot, columnWidth, room, mayNameLines);
  const legend = needsLegend(plot, ends)
    ? legendLayout(plot.lines, width)
    : { entries: [], rows: 0 };
  const legendHeight = legend.rows ? legend.rows * LEGEND_ROW + 6 : 0;
  const top = legendHeight + axisTitle + (plot.type === "line" ? 10 : 18); // a number stands on the highest bar
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
    right: width - (ends.width > 0 ? ends.width + LABEL_GAP + 4 : 6),
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

function xScale(plot, frame) {
  const range = [frame.left, frame.right];
  if (plot.isCategory) return bandScale(plot.x.map(String), range);
  const make = plot.xLog ? logScale : linearScale;
  const count = Math.max(3, Math.floor((frame.right - frame.left) / TICK_SPACING));
  const scale = make(xExtent(plot), range, { count, nice: false });
  if (!plot.xLog || !doubles(plot.x)) return scale;
  return { ...scale, ticks: plot.x.map((value) => ({ value, label: formatShort(value) })) };
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
    const from = at - (anchor === "end" ? 2 : anchor === "start" ? 0 : 1) * half;
    return { at, rows: [label], anchor, from, to: from + 2 * half };
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

/** Drops labels that would run into the one before: log axes crowd, and labels at the edge move inwards. */
function thinned(ticks) {
  let edge = -Infinity;
  return ticks.map((tick) => {
    const fits = tick.from > edge + 6;
    if (fits) edge = tick.to;
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

/** Whether the stroke that joins a name to the end of its line, inside the frame, crosses another line. */
function crosses(end, { plot, frame, x, y }) {
  if (end.index === null || end.x - end.pointX <= FAR) return false;
  const name = [Math.min(end.x, frame.right), end.y];
  return plot.lines.some((line) => {
    if (line.paint === end.paint) return false;
    const points = line.values.map((value, index) => value !== null && [x.map(plot.isCategory ? index : plot.x[index]), y.map(value)]);
    return points.some((point, index) => point && points[index - 1] && cut([end.pointX, end.pointY], name, points[index - 1], point));
  });
}

/** Whether two segments have a point in common. */
function cut(a, b, c, d) {
  const side = ([px, py], [qx, qy], [rx, ry]) => Math.sign((qx - px) * (ry - py) - (qy - py) * (rx - px));
  return side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b);
}

/**
 * Moves intervals apart with the least displacement: neighbours that touch form a block centred on
 * the mean of the wanted places of its members (pool adjacent violators), within the bounds.
 * @param {{want: number, height: number}[]} items
 * @param {[number, number]} bounds
 * @returns {number[]} centres, in the order of `items`
 */
export function spread(items, [top, bottom]) {
  const order = items.map((_, index) => index).sort((a, b) => items[a].want - items[b].want);
  const blocks = [];
  for (const index of order) {
    let block = { members: [index], height: items[index].height, want: items[index].want };
    while (blocks.length > 0 && touches(blocks.at(-1), block, top, bottom)) {
      block = joined(blocks.pop(), block);
    }
    blocks.push(block);
  }
  const centres = new Array(items.length);
  for (const block of blocks) {
    let edge = blockTop(block, top, bottom);
    for (const index of block.members) {
      centres[index] = edge + items[index].height / 2;
      edge += items[index].height;
    }
  }
  return centres;
}

function blockTop({ want, height }, top, bottom) {
  return Math.max(top, Math.min(bottom - height, want - height / 2));
}

function touches(above, below, top, bottom) {
  return blockTop(above, top, bottom) + above.height > blockTop(below, top, bottom);
}

function joined(above, below) {
  const share = above.members.length / (above.members.length + below.members.length);
  return {
    members: [...above.members, ...below.members],
    height: above.height + below.height,
    want: above.want * share + below.want * (1 - share),
  };
}

/** Returns the last drawn point of a line as `{index, value}`, or null. */
function lastPoint(line) {
  const index = line.values.findLastIndex((value) => value !== null);
  return index < 0 ? null : { index, value: line.values[index] };
}

/**
 * Returns the labels at the right of the plot: thresholds always, line names where they are few and short.
 * @param {object} plot from `readPlot`
 * @param {number} columnWidth pixels
 * @param {number} room pixels of height
 * @param {boolean} mayNameLines
 * @returns {{labels: object[], width: number, namesLines: boolean}} labels `{rows, value, index, paint}`
 */
function endLabels(plot, columnWidth, room, mayNameLines) {
  const limits = plot.thresholds.map(({ label, value }) => ({
    rows: wrapText(thresholdText(label, value, plot.yUnit), columnWidth, FONT_SIZE),
    value,
    index: null,
    paint: null,
  }));
  const names = mayNameLines && plot.type === "line" ? lineNames(plot, columnWidth) : null;
  const height = (labels) => labels.reduce((sum, { rows }) => sum + rows.length * LEADING + 2, 0);
  const namesLines = names !== null && height([...names, ...limits]) <= room;
  const labels = namesLines ? [...names, ...limits] : limits;
  const width = Math.max(
    0,
    ...labels.flatMap(({ rows }) => rows.map((row) => textWidth(row, FONT_SIZE))),
  );
  return { labels, width, namesLines };
}

function thresholdText(label, value, unit) {
  const number = formatNumber(value);
  return label.includes(number) ? label : `${label} ${withUnit(number, unit)}`.trim();
}

/** Returns names at line ends, or null when a legend serves better: too many, or too long for the column. */
function lineNames(plot, columnWidth) {
  const named = plot.lines.filter((line) => line.label && lastPoint(line));
  if (named.length > MOST_DIRECT_LABELS) return null;
  const labels = named.map((line) => {
    const { index, value } = lastPoint(line);
    return { rows: wrapText(line.label, columnWidth, FONT_SIZE), value, index, paint: line.paint };
  });
  const isCut = labels.some(({ rows }) => rows.some((row) => row.endsWith("…")));
  return isCut ? null : labels;
}
