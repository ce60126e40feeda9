/**
 * Memory at each instant of a step: the prediction as an outline, the measurement as a solid bar
 * lying on it, both divided by component. Drawn as SVG from the same scale.
 */

import { componentLabel, inOrder, instantLabel, instants } from "../schema.js";
import { exactText } from "../../plots/number.js";
import { coveringTicks } from "../../plots/scale.js";
import { bytesText } from "../number.js";
import { h } from "../../figures/vnode.js";

const PLOT_HEIGHT = 172;
const TOP = 12;
const BOTTOM = 44;
const LEFT = 62;
const UNITS = [2 ** 30, 2 ** 20, 2 ** 10];
const UNIT_NAMES = { [2 ** 30]: "GiB", [2 ** 20]: "MiB", [2 ** 10]: "KiB" };

/**
 * @param {ReturnType<typeof import("../fold.js").emptyRun>["memory"]} memory
 * @param {number} width pixels
 * @returns {import("../../figures/vnode.js").VNode | null} null while nothing is known
 */
export function memoryView(memory, width) {
  const columns = columnsOf(memory);
  if (columns.length === 0) return null;
  const highest = Math.max(...columns.map((c) => Math.max(c.predictedBytes, c.measuredBytes)));
  const unit = UNITS.find((size) => highest >= size) ?? 1;
  const ticks = coveringTicks(0, highest / unit, 4).map((tick) => tick * unit);
  const y = (bytes) => TOP + PLOT_HEIGHT * (1 - bytes / ticks.at(-1));
  const band = (width - LEFT) / columns.length;
  return h(
    "svg",
    {
      class: "run-bars",
      viewBox: `0 0 ${width} ${TOP + PLOT_HEIGHT + BOTTOM}`,
      role: "img",
      "aria-label": "Memory by instant of a step, predicted and measured. The numbers follow below.",
    },
    ticks.map((bytes) => gridLine(bytes, unit, y(bytes), width)),
    columns.map((column, index) => columnView(column, LEFT + band * index, band, y)),
  );
}

/** Every instant that was predicted or measured, in the order of the step. */
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

/** Bottom to top, what stays before what comes and goes. */
function ordered(components) {
  const held = Object.keys(components).filter((name) => components[name] > 0);
  return inOrder(held).map((name) => [name, components[name]]);
}

function total(components) {
  return Object.values(components).reduce((sum, bytes) => sum + bytes, 0);
}

/** Ticks share one unit, so that they read as a scale: 0.2, 0.4, … GiB. */
function gridLine(bytes, unit, y, width) {
  const label = bytes === 0 ? "0" : `${exactText(bytes / unit)} ${UNIT_NAMES[unit] ?? "bytes"}`;
  return h(
    "g",
    { class: bytes === 0 ? "run-grid run-grid-zero" : "run-grid" },
    h("line", { x1: LEFT, x2: width, y1: y, y2: y }),
    h("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, label),
  );
}

function columnView(column, left, band, y) {
  const barWidth = Math.min(72, band * 0.56);
  const inset = Math.min(3, barWidth / 4); // a log of another trainer may have many instants
  const x = left + (band - barWidth) / 2;
  return h(
    "g",
    null,
    stack(column.measured, x + inset, barWidth - 2 * inset, y, "run-measured", "measured"),
    stack(column.predicted, x, barWidth, y, "run-predicted", "predicted"),
    wordsBelow(column.label, x + barWidth / 2, y(0)),
  );
}

function stack(parts, x, width, y, className, word) {
  let bottom = 0;
  return parts.map(([name, bytes]) => {
    const from = y(bottom);
    bottom += bytes;
    const height = Math.max(0, from - y(bottom));
    return h(
      "rect",
      { class: `${className} run-c-${name}`, x, y: y(bottom), width, height },
      h("title", null, `${componentLabel(name)}, ${word}: ${bytesText(bytes)}`),
    );
  });
}

/** A label below its bar, on two lines when it has several words. */
function wordsBelow(label, x, zero) {
  const words = label.split(" ");
  const half = Math.ceil(words.length / 2);
  const lines = words.length > 1 ? [words.slice(0, half), words.slice(half)] : [words];
  return lines.map((line, index) =>
    h("text", { class: "run-instant", x, y: zero + 18 + 15 * index, "text-anchor": "middle" }, line.join(" ")),
  );
}

/** The components that occur, as a legend: a square of their colour and their name. */
export function memoryLegend(memory) {
  const columns = columnsOf(memory);
  const present = new Set(columns.flatMap((c) => [...c.predicted, ...c.measured].map(([name]) => name)));
  const names = inOrder([...present]);
  return h(
    "ul",
    { class: "run-legend" },
    names.map((name) => h("li", null, h("span", { class: `run-swatch run-c-${name}` }), componentLabel(name))),
    h("li", null, h("span", { class: "run-swatch run-swatch-outline" }), "outline: predicted"),
    h("li", null, h("span", { class: "run-swatch run-swatch-solid" }), "solid: measured"),
  );
}
