/** The names of a chart's lines above it, for screens too narrow to write them at the line ends. */

import { h } from "../../figures/vnode.js";

/**
 * @param {import("./chart.js").Line[]} lines
 * @returns {import("../../figures/vnode.js").VNode} empty when no line has a name
 */
export function lineLegend(lines) {
  const named = lines.filter((line) => line.end !== "");
  return h("ul", { class: "run-legend" }, named.map(lineName));
}

function lineName({ color, dashed, end, label }) {
  const key = h("span", { class: `run-key run-key${color}${dashed ? " run-key-dashed" : ""}` });
  return h("li", null, key, end ?? label);
}
