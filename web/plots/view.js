/**
 * Draws a plot: data in, a tree of nodes out. Used when the site is built and again in the page,
 * so the baked picture and the live one are the same.
 */

import { stateView } from "../figures/state.js";
import { endLabelViews, thresholdRules, xAxis, yAxis } from "./axis.js";
import { barMarks, barNumbers } from "./bar.js";
import { hasData } from "./extent.js";
import { layoutPlot } from "./layout.js";
import { NARROW, WIDE } from "./size.js";
import { legendView } from "./legend.js";
import { lineMarks } from "./line.js";
import { plotProblem, readPlot } from "./model.js";
import { h } from "../figures/vnode.js";

const KINDS = { line: "Line chart", bar: "Bar chart", stacked_bar: "Stacked bar chart" };

/**
 * The whole figure: title, picture, notes, caption, and an empty row the live widget puts its
 * buttons in. Wrong data gives the drawn error state, no values the drawn empty state.
 * @param {import("./model.js").Plot} data
 * @param {{width?: number, height?: number}} [opts] pixels. With no width the picture is drawn twice,
 *   for a text column and for a telephone, and CSS shows one.
 * @returns {import("../figures/vnode.js").VNode}
 */
export function plotView(data, opts = {}) {
  const problem = plotProblem(data);
  if (problem) return stateView("error", "This plot could not be drawn", problem);
  const plot = readPlot(data);
  return figureView(plot, pictures(plot, opts));
}

/**
 * The figure around given pictures.
 * @param {object} plot from `readPlot`
 * @param {unknown} content nodes for the canvas
 */
export function figureView(plot, content) {
  return h(
    "figure",
    { class: "plot", "aria-label": plot.title || plot.caption || "Plot" },
    plot.title ? h("p", { class: "plot-title" }, plot.title) : null,
    h("div", { class: "plot-canvas" }, content),
    plot.notes.map((note) => h("p", { class: "plot-note" }, note)),
    plot.caption ? h("figcaption", { class: "plot-caption" }, plot.caption) : null,
    h("div", { class: "plot-tools" }),
  );
}

function pictures(plot, opts) {
  if (!hasData(plot)) return stateView("empty", "Nothing to draw yet", "This plot has no values.");
  if (opts.width) return pictureView(layoutPlot(plot, opts));
  return [
    pictureView(layoutPlot(plot, { width: WIDE }), "plot-wide"),
    pictureView(layoutPlot(plot, { width: NARROW }), "plot-narrow"),
  ];
}

/**
 * The picture alone, as one `<svg>`.
 * @param {object} layout from `layoutPlot`
 * @param {string} [className] added to its class
 */
export function pictureView(layout, className = "") {
  const { plot, width, height, legend, frame } = layout;
  const isLine = plot.type === "line";
  const marks = isLine ? lineMarks(layout) : barMarks(layout);
  return h(
    "svg",
    {
      class: `plot-picture ${className}`.trim(),
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": descriptionOf(plot),
    },
    legendView(legend.entries, 0, isLine),
    yAxis(layout),
    xAxis(layout),
    h("g", { class: "plot-marks" }, marks),
    h("g", { class: "plot-limits" }, thresholdRules(layout)),
    isLine ? null : [baseline(frame, layout.y), barNumbers(layout)],
    h("g", { class: "plot-ends" }, endLabelViews(layout)),
  );
}

/** Zero again, above the bars that stand on it. */
function baseline(frame, y) {
  return h("path", {
    class: "plot-rule plot-base",
    d: `M${frame.left},${y.map(0)}H${frame.right}`,
  });
}

/** What the picture shows, in words, for those who do not see it. */
export function descriptionOf(plot) {
  const names = plot.lines.map(({ label }) => label).filter(Boolean);
  const axes = plot.yLabel && plot.xLabel ? `${plot.yLabel} against ${plot.xLabel}.` : "";
  const limits = plot.thresholds.map(({ label }) => label).join(", ");
  return [
    `${KINDS[plot.type]}${plot.title ? `: ${plot.title}` : ""}.`,
    axes,
    names.length ? `Shows ${names.join(", ")}.` : "",
    limits ? `Thresholds: ${limits}.` : "",
  ]
    .filter(Boolean)
    .join(" ");
}
