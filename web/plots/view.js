/**
 * Draws a plot: data in, a tree of nodes out. Used when the site is built and again in the page, so the baked picture and
 * the live one are the same.
 */

import { stateView } from "../figures/tools.js";
import { h } from "../figures/vnode.js";
import { axisTitleView, legendView, xAxisView, yAxisView } from "./guides.js";
import { barMarks, barNumbers, lineMarks, round } from "./marks.js";
import { hasData, readPlot } from "./model.js";
import { FAR, layoutPlot } from "./layout.js";
import { LEADING, NARROW, WIDE } from "./text.js";

const KINDS = { line: "Line chart", bar: "Bar chart", stacked_bar: "Stacked bar chart" };

/**
 * Returns the whole figure: title, picture, notes, caption, and an empty row for the buttons of the live widget. A
 * plot without values gives the drawn empty state.
 * @param {import("./model.js").Plot} data checked by the schema
 * @param {{width?: number, height?: number}} [opts] pixels. With no width the picture is drawn twice,
 *   for a text column and for a telephone, and CSS shows one.
 * @returns {import("../figures/vnode.js").VNode}
 */
export function plotView(data, opts = {}) {
  const plot = readPlot(data);
  return figureView(plot, pictures(plot, opts));
}

/**
 * Returns the figure around pictures.
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
    h("div", { class: "row plot-tools" }),
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
 * Draws the picture alone, as one `<svg>`.
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
      class: `drawing plot-picture ${className}`.trim(),
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

/** Draws the zero line again, above the bars. */
function baseline(frame, y) {
  return h("path", {
    class: "plot-rule plot-base",
    d: `M${frame.left},${y.map(0)}H${frame.right}`,
  });
}

/** Describes the picture for screen readers. */
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

/** Returns "Memory (GB, log scale)": what an axis measures, its unit, and whether it is logarithmic. */
function axisTitle(label, unit, isLog) {
  const known = unit && !label.includes(`(${unit})`) ? unit : "";
  const notes = [known, isLog ? "log scale" : ""].filter(Boolean).join(", ");
  if (!notes) return label;
  return label ? `${label} (${notes})` : notes;
}

function yAxis({ plot, frame, y }) {
  const floor = `M${round(frame.left)},${round(frame.bottom)}H${round(frame.right)}`;
  const ticks = y.ticks.map(({ value, label }) => ({ at: y.map(value), label, isBase: !plot.yLog && value === 0 }));
  return h(
    "g",
    { class: "plot-axis" },
    plot.yLog ? h("path", { class: "plot-rule", d: floor }) : null,
    yAxisView(frame, ticks),
    axisTitleView(axisTitle(plot.yLabel, plot.yUnit, plot.yLog), { x: 0, y: frame.top - (plot.type === "line" ? 16 : 24) }),
  );
}

function xAxis({ plot, frame, xTicks, height }) {
  const title = axisTitle(plot.xLabel, plot.xUnit, plot.xLog);
  return h(
    "g",
    { class: "plot-axis" },
    xAxisView(frame.bottom, xTicks, !plot.isCategory),
    axisTitleView(title, { x: frame.right, y: height - 4, anchor: "end" }),
  );
}

/** Draws a line across the plot at each threshold; its name is one of the end labels. */
function thresholdRules({ plot, frame, y }) {
  return plot.thresholds.map(({ value }) => {
    const d = `M${round(frame.left)},${round(y.map(value))}H${round(frame.right)}`;
    return [
      h("path", { class: "plot-threshold-halo", d }),
      h("path", { class: "plot-threshold", d }),
    ];
  });
}

/** Draws names at the right, with a leader where a name was moved away from its point. */
function endLabelViews({ ends }) {
  return ends.map(({ rows, x, y, pointX, pointY, paint }) => {
    const first = y - ((rows.length - 1) * LEADING) / 2;
    const isFar = Math.abs(y - pointY) > 5 || x - pointX > FAR;
    return h(
      "g",
      paint ?? { class: "plot-limit" },
      isFar
        ? h("path", {
            class: "plot-leader",
            d: `M${round(pointX + 3)},${round(pointY)}L${round(x - 3)},${round(y)}`,
          })
        : null,
      rows.map((row, index) =>
        h(
          "text",
          { class: "plot-end-label", x: round(x), y: round(first + index * LEADING), dy: "0.35em" },
          row,
        ),
      ),
    );
  });
}
