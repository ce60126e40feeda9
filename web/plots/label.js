/** Labels beside the ends of lines and thresholds, moved apart so that none covers another. */

import { exactText, withUnit } from "../figures/number.js";
import { textWidth, wrapText } from "./text.js";

const MOST_DIRECT_LABELS = 16;

/**
 * Moves intervals apart with the least displacement: neighbours that touch form a block centred on
 * the mean of what its members wanted (pool adjacent violators), kept between the bounds.
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

/** The last drawn point of a line as `{index, value}`, or null. */
function lastPoint(line) {
  const index = line.values.findLastIndex((value) => value !== null);
  return index < 0 ? null : { index, value: line.values[index] };
}

/**
 * The words at the right of the plot: thresholds always, line names where they are few and short.
 * @param {object} plot from `readPlot`
 * @param {{columnWidth: number, room: number, size: number, leading: number}} space pixels
 * @returns {{labels: object[], width: number, namesLines: boolean}} labels `{rows, value, index, paint}`
 */
export function endLabels(plot, { columnWidth, room, size, leading }) {
  const limits = plot.thresholds.map(({ label, value }) => ({
    rows: wrapText(thresholdText(label, value, plot.yUnit), columnWidth, size),
    value,
    index: null,
    paint: null,
  }));
  const names = plot.type === "line" ? lineNames(plot, columnWidth, size) : null;
  const height = (labels) => labels.reduce((sum, { rows }) => sum + rows.length * leading + 2, 0);
  const namesLines = names !== null && height([...names, ...limits]) <= room;
  const labels = namesLines ? [...names, ...limits] : limits;
  const width = Math.max(
    0,
    ...labels.flatMap(({ rows }) => rows.map((row) => textWidth(row, size))),
  );
  return { labels, width, namesLines };
}

function thresholdText(label, value, unit) {
  const number = exactText(value);
  return label.includes(number) ? label : `${label} ${withUnit(number, unit)}`.trim();
}

/** Names at line ends, or null when a legend serves better (too many, or too long for the column). */
function lineNames(plot, columnWidth, size) {
  const named = plot.lines.filter((line) => line.label && lastPoint(line));
  if (named.length > MOST_DIRECT_LABELS) return null;
  const labels = named.map((line) => {
    const { index, value } = lastPoint(line);
    return { rows: wrapText(line.label, columnWidth, size), value, index, paint: line.paint };
  });
  const isCut = labels.some(({ rows }) => rows.some((row) => row.endsWith("…")));
  return isCut ? null : labels;
}
