/** The quiet parts: hairlines, tick labels, axis titles, thresholds and the names at line ends. */

import { LEADING } from "./size.js";
import { h } from "../figures/vnode.js";

function round(pixels) {
  return Math.round(pixels * 10) / 10;
}

/** "Memory (GB, log scale)": what an axis measures, its unit, and whether it is logarithmic. */
export function axisTitle(label, unit, isLog) {
  const known = unit && !label.includes(`(${unit})`) ? unit : "";
  const notes = [known, isLog ? "log scale" : ""].filter(Boolean).join(", ");
  if (!notes) return label;
  return label ? `${label} (${notes})` : notes;
}

/** Horizontal hairlines with their numbers, and the y title above them. */
export function yAxis({ plot, frame, y }) {
  const base = plot.yLog ? null : 0;
  const floor = `M${round(frame.left)},${round(frame.bottom)}H${round(frame.right)}`;
  return h(
    "g",
    { class: "plot-axis" },
    plot.yLog ? h("path", { class: "plot-rule", d: floor }) : null,
    y.ticks.map(({ value, label }) => [
      h("path", {
        class: value === base ? "plot-rule plot-base" : "plot-rule",
        d: `M${round(frame.left)},${round(y.map(value))}H${round(frame.right)}`,
      }),
      h(
        "text",
        {
          class: "plot-tick",
          x: round(frame.left - 8),
          y: round(y.map(value)),
          dy: "0.35em",
          "text-anchor": "end",
        },
        label,
      ),
    ]),
    h(
      "text",
      { class: "plot-axis-title", x: 0, y: round(frame.top - 16) },
      axisTitle(plot.yLabel, plot.yUnit, plot.yLog),
    ),
  );
}

/** Tick labels below the plot and the x title at its right end. */
export function xAxis({ plot, frame, xTicks, height }) {
  const top = frame.bottom + 6;
  return h(
    "g",
    { class: "plot-axis" },
    xTicks.map(({ at, rows, anchor }) => [
      plot.isCategory
        ? null
        : h("path", { class: "plot-tick-mark", d: `M${round(at)},${round(frame.bottom)}v4` }),
      rows.map((row, index) =>
        h(
          "text",
          {
            class: "plot-tick",
            x: round(at),
            y: round(top + 11 + index * LEADING),
            "text-anchor": anchor,
          },
          row,
        ),
      ),
    ]),
    h(
      "text",
      {
        class: "plot-axis-title",
        x: round(frame.right),
        y: round(height - 4),
        "text-anchor": "end",
      },
      axisTitle(plot.xLabel, plot.xUnit, plot.xLog),
    ),
  );
}

/** Lines across the plot at the thresholds; their names stand among the end labels. */
export function thresholdRules({ plot, frame, y }) {
  return plot.thresholds.map(({ value }) => {
    const d = `M${round(frame.left)},${round(y.map(value))}H${round(frame.right)}`;
    return [
      h("path", { class: "plot-threshold-halo", d }),
      h("path", { class: "plot-threshold", d }),
    ];
  });
}

/** Names at the right, with a leader where a name had to move away from its point. */
export function endLabelViews({ ends }) {
  return ends.map(({ rows, x, y, pointX, pointY, paint }) => {
    const first = y - ((rows.length - 1) * LEADING) / 2;
    const isFar = Math.abs(y - pointY) > 5 || x - pointX > 24;
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
