/** A chart of a run as a drawing of its own, for files: the same lines, scales and labels as on canvas. */

import { fileName, saveFile } from "../../figures/tools.js";
import { h, toDom } from "../../figures/vnode.js";
import { plotFile } from "../../plots/export.js";
import { axisTitleView, xAxisView, yAxisView } from "../../plots/guides.js";
import { round } from "../../plots/marks.js";
import { linearScale } from "../../plots/scale.js";
import { GAP, lastAt, moveApart, thinned, valueScale, xRange } from "./chart-data.js";

const WIDTH = 640;
const HEIGHT = 264;
const MARGIN = { top: 26, bottom: 40, left: 52 };

/** @typedef {import("./chart-data.js").Chart} Chart */

/**
 * @param {Chart} chart
 * @param {number} [width] pixels
 * @param {[number, number]} [range] of the axis; else all
 * @returns {import("../../figures/vnode.js").VNode} an `<svg>`; a line whose values are no numbers is not in it
 */
export function chartPicture(chart, width = WIDTH, [from, to] = xRange(chart)) {
  const right = width - Math.max(24, chart.room);
  const bottom = HEIGHT - MARGIN.bottom;
  const lines = chart.lines.map((line) => {
    const [start, end] = [line.x.findIndex((place) => place >= from), lastAt(line.x, to) + 1];
    const inSight = (values) => (start < 0 ? [] : values.slice(start, end));
    return thinned({ ...line, x: inSight(line.x), y: inSight(line.y) }, null, width);
  });
  const values = lines.flatMap(({ y }) => y.filter(Number.isFinite));
  const extent = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : null;
  const x = linearScale([from, to], [MARGIN.left, right], { count: 6, nice: false });
  const y = valueScale(chart, extent, [bottom, MARGIN.top]);
  const axis = chart.axis ?? "step";
  return h(
    "svg",
    { class: "drawing run-picture", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": chart.title },
    yAxisView({ left: MARGIN.left, right }, y.ticks.map(({ value, label }) => ({ at: y.map(value), label, isBase: value === 0 }))),
    xAxisView(bottom, x.ticks.map(({ value, label }) => ({ at: x.map(value), rows: [label] })), true),
    chart.unit !== "1" && axisTitleView(chart.unit, { x: 0, y: 12 }),
    axisTitleView(axis, { x: right, y: HEIGHT - 6, anchor: "end" }),
    (chart.marks ?? []).filter(({ x: at }) => from <= at && at <= to).map((mark) => markView(mark, x.map(mark.x), bottom)),
    lines.map((line) => lineView(line, x.map, y.map)),
    endsView(lines, x.map, y.map),
  );
}

function markView({ label, bad }, at, bottom) {
  const tone = bad ? "run-mark run-mark-bad" : "run-mark";
  return h("g", { class: tone }, h("path", { d: `M${round(at)},${MARGIN.top - 8}V${bottom}` }), h("text", { x: round(at + 5), y: MARGIN.top - 8 }, label));
}

function lineView({ color, dashed, faint, thin, pale, dots, x, y }, left, top) {
  const look = Object.entries({ dashed, faint, thin, pale }).map(([name, is]) => (is ? ` run-curve-${name}` : "")).join("");
  const isDrawn = (index) => Number.isFinite(y[index]) && Number.isFinite(x[index]);
  const points = x.map((place, index) => (isDrawn(index) ? `${round(left(place))},${round(top(y[index]))}` : null));
  const pieces = points.map((point, index) => point && `${index > 0 && points[index - 1] ? "L" : "M"}${point}`).filter(Boolean);
  const marks = dots ? points.filter(Boolean).map((point) => point.split(",")) : [];
  return h(
    "g",
    { class: `run-curve ${color.slice(2)}${look}` },
    pieces.length > 0 && h("path", { d: pieces.join("") }),
    marks.map(([cx, cy]) => h("circle", { cx, cy, r: 2.5 })),
  );
}

/** Draws the name of each line beside its last point, moved apart where they would touch. */
function endsView(lines, left, top) {
  const named = lines.filter(({ end }) => end !== "").flatMap((line) => {
    const at = line.y.findLastIndex(Number.isFinite);
    return at < 0 ? [] : [{ line, x: left(line.x[at]) + 8, y: top(line.y[at]) }];
  });
  moveApart(named, GAP, HEIGHT - MARGIN.bottom);
  return named.map(({ line, x, y }) =>
    h("text", { class: `run-curve-end ${line.color.slice(2)}`, x: round(x), y: round(y), dy: "0.35em" }, line.end ?? line.label));
}

/** Offers what is in sight of a chart as a file. @param {Chart} chart @param {"svg" | "png"} kind @param {[number, number]} [range] */
export async function saveChart(chart, kind, range) {
  const picture = toDom(chartPicture(chart, WIDTH, range));
  const holder = Object.assign(document.createElement("div"), { className: "run-picture-holder" });
  holder.append(picture);
  document.body.append(holder); // its looks are those of the page
  try {
    saveFile(fileName(chart.title, "chart", kind), await plotFile(kind, { picture, title: chart.title, data: null }));
  } finally {
    holder.remove();
  }
}
