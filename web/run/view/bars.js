/**
 * Bars of a run, drawn as SVG on a common zero: memory at each instant of a step, with the prediction as an
 * outline and the measurement as a solid bar on it, and how far each layer has moved from where it started.
 */

import { binaryUnit, formatBytes, formatNumber, formatPercent } from "../../figures/number.js";
import { h } from "../../figures/vnode.js";
import { legendList, xAxisView, yAxisView } from "../../plots/guides.js";
import { coveringTicks } from "../../plots/scale.js";
import { componentLabel, instantLabel, instants, sortComponents } from "../../schema/schema.js";

const TOP = 12;
const LEFT = 62;
const MEMORY_HEIGHT = 172;
const DRIFT_HEIGHT = 96;
const BAR_SHARE = 0.62;
const WIDEST_BAR = 40;
const NUMBER_SPACE = 26; // pixels that a layer's number needs below its bar
const NAME_SPACE = 40;
const SHORT = { embed_tokens: "embed", lm_head: "head" };

/**
 * Lays out a bar chart whose bars stand on zero.
 * @param {number[]} ticks rising from 0; the last one is the top of the frame
 * @param {object} size
 * @param {number} size.count of bars side by side
 * @param {number} size.width pixels of the whole picture
 * @param {number} size.height pixels of the frame
 * @param {number} size.below pixels below it, for labels
 * @param {number} [size.right] pixels kept free at the right
 */
export function barFrame(ticks, { count, width, height, below, right = 0 }) {
  const y = (value) => TOP + height * (1 - value / ticks.at(-1));
  const band = (width - LEFT - right) / count;
  return {
    y,
    band,
    left: (index) => LEFT + band * index,
    /** Draws the picture: grid lines with their numbers, then `marks`. */
    picture: (label, tickText, ...marks) =>
      h(
        "svg",
        { class: "run-bars drawing", viewBox: `0 0 ${width} ${TOP + height + below}`, role: "img", "aria-label": label },
        yAxisView({ left: LEFT, right: width }, ticks.map((tick) => ({ at: y(tick), label: tickText(tick), isBase: tick === 0 }))),
        ...marks,
      ),
  };
}

/**
 * @param {ReturnType<typeof import("../fold.js").emptyRun>["memory"]} memory
 * @param {number} width pixels
 * @returns {import("../../figures/vnode.js").VNode | null} null while nothing is known
 */
export function memoryView(memory, width) {
  const columns = columnsOf(memory);
  if (columns.length === 0) return null;
  const highest = Math.max(...columns.map((c) => Math.max(c.predictedBytes, c.measuredBytes)));
  const [size, unit] = binaryUnit(highest);
  const ticks = coveringTicks(0, highest / size, 4).map((tick) => tick * size);
  const frame = barFrame(ticks, { count: columns.length, width, height: MEMORY_HEIGHT, below: 44 });
  return frame.picture(
    "Memory by instant of a step, predicted and measured. The numbers follow below.",
    (bytes) => (bytes === 0 ? "0" : `${formatNumber(bytes / size)} ${unit}`), // ticks share one unit
    columns.map((column, index) => columnView(column, frame.left(index), frame)),
  );
}

/** Returns every instant that was predicted or measured, in the order of the step. */
export function columnsOf({ predicted, measured }) {
  const known = instants().map(([name]) => name);
  const named = [...Object.keys(predicted), ...Object.keys(measured)];
  const names = [...new Set([...known, ...named])].filter((name) => named.includes(name));
  return names.map((name) => ({
    name,
    label: instantLabel(name),
    predicted: ordered(predicted[name] ?? {}),
    measured: ordered(measured[name]?.components ?? {}),
    predictedBytes: total(predicted[name] ?? {}),
    measuredBytes: measured[name]?.bytes ?? 0,
  }));
}

/** Returns components with their bytes, from bottom to top. */
function ordered(components) {
  const present = Object.keys(components).filter((name) => components[name] > 0);
  return sortComponents(present).map((name) => [name, components[name]]);
}

function total(components) {
  return Object.values(components).reduce((sum, bytes) => sum + bytes, 0);
}

function columnView(column, left, { band, y }) {
  const barWidth = Math.min(72, band * 0.56);
  const inset = Math.min(3, barWidth / 4); // logs of other trainers may have many instants
  const x = left + (band - barWidth) / 2;
  return h(
    "g",
    null,
    stack(column.measured, x + inset, barWidth - 2 * inset, y, "run-measured", "measured"),
    stack(column.predicted, x, barWidth, y, "run-predicted", "predicted"),
    xAxisView(y(0), [{ at: x + barWidth / 2, rows: twoLines(column.label) }], false),
  );
}

function stack(parts, x, width, y, className, kind) {
  let bottom = 0;
  return parts.map(([name, bytes]) => {
    const from = y(bottom);
    bottom += bytes;
    const height = Math.max(0, from - y(bottom));
    return h(
      "rect",
      { class: `${className} c-${name}`, x, y: y(bottom), width, height },
      h("title", null, `${componentLabel(name)}, ${kind}: ${formatBytes(bytes)}`),
    );
  });
}

function twoLines(label) {
  const words = label.split(" ");
  const half = Math.ceil(words.length / 2);
  return words.length > 1 ? [words.slice(0, half).join(" "), words.slice(half).join(" ")] : words;
}

/** Returns the legend of the components that occur. */
export function memoryLegend(memory) {
  const columns = columnsOf(memory);
  const present = new Set(columns.flatMap((c) => [...c.predicted, ...c.measured].map(([name]) => name)));
  const names = sortComponents([...present]);
  return legendList([
    ...names.map((name) => ({ swatch: `swatch swatch-solid c-${name}`, label: componentLabel(name) })),
    { swatch: "swatch swatch-outline", label: "outline: predicted" },
    { swatch: "swatch swatch-solid", label: "solid: measured" },
  ]);
}

/**
 * @typedef {object} Moved
 * @property {string} name as in the log: "embed_tokens", "layers.3"
 * @property {string} label below its bar: "embed", "3"
 * @property {number} ratio norm of the change over the norm at the start; may be NaN
 * @property {boolean} isLayer one of the stack, rather than an embedding, a norm or the head
 *
 * @param {Record<string, number | string>} layers of the newest `drift` event
 * @returns {Moved[]} in the order of the model
 */
export function movedLayers(layers) {
  return Object.entries(layers).map(([name, ratio]) => {
    const [, number] = /\.(\d+)$/.exec(name) ?? [];
    return { name, label: number ?? SHORT[name] ?? name, ratio: Number(ratio), isLayer: number !== undefined };
  });
}

/** @returns {string} a ratio as per cent with three significant digits: "9.12%" */
export function driftText(ratio) {
  return Number.isFinite(ratio) ? formatPercent(ratio) : String(ratio);
}

/**
 * @param {Record<string, number | string>} layers of the newest `drift` event
 * @param {number} width pixels
 * @returns {import("../../figures/vnode.js").VNode | null} null while nothing has moved
 */
export function driftView(layers, width) {
  const moved = movedLayers(layers);
  const highest = Math.max(0, ...moved.map(({ ratio }) => ratio).filter(Number.isFinite));
  if (highest === 0) return null;
  const ticks = coveringTicks(0, 100 * highest, 3).map((tick) => tick / 100);
  const right = 8; // the last name is wider than its bar
  const frame = barFrame(ticks, { count: moved.length, width, height: DRIFT_HEIGHT, below: 24, right });
  return frame.picture(
    "How far each layer has moved from its pre-trained weights. The numbers follow below.",
    (ratio) => (ratio === 0 ? "0" : driftText(ratio)),
    moved.map((layer, index) => barView(layer, frame.left(index + 0.5), frame)),
    xAxisView(frame.y(0), labels(moved, frame.band).map(([text, index]) => ({ at: frame.left(index + 0.5), rows: [text] })), false),
  );
}

function barView({ name, ratio, isLayer }, middle, { band, y }) {
  const barWidth = Math.min(WIDEST_BAR, band * BAR_SHARE);
  const top = Number.isFinite(ratio) ? y(ratio) : y(0);
  return h(
    "rect",
    {
      class: isLayer ? "run-moved" : "run-moved run-moved-apart",
      x: middle - barWidth / 2,
      y: top,
      width: barWidth,
      height: y(0) - top,
    },
    h("title", null, `${name}: ${driftText(ratio)}`),
  );
}

/** Returns the labels: all names of other parts, and the number of every fifth, tenth … layer where there are many. */
function labels(moved, band) {
  const stride = [1, 5, 10, 20, 50].find((every) => every * band >= NUMBER_SPACE) ?? 100;
  const apart = moved.map(({ isLayer }, index) => (isLayer ? -1 : index)).filter((index) => index >= 0);
  const isFree = (index) => apart.every((other) => Math.abs(other - index) * band >= NAME_SPACE);
  return moved
    .map(({ label }, index) => [label, index])
    .filter(([label, index]) => !moved[index].isLayer || (Number(label) % stride === 0 && isFree(index)));
}
