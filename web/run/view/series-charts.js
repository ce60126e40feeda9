/** Charts of one measured series each: gradient norm, step time, resident memory, stalled weights, experts. */

import { isImported } from "../imported.js";
import { metricWords } from "../schema.js";

const SERIES = {
  norm: "train/grad_norm",
  pace: "perf/step_seconds",
  resident: "sys/rss_bytes",
  stalled: "opt/stalled_ratio",
  balance: "router/balance_loss",
  busiest: "router/load_max",
  moved: "router/load_drift",
};
const BYTE_UNITS = [
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
];

/** Names of the charts, in their order. */
export const SERIES_CHARTS = Object.keys(SERIES);

/**
 * @param {import("./charts.js").Run} run
 * @param {object} reach where the axis ends: {of, lastStep, planned}
 * @returns {Record<string, import("./chart.js").Chart | null>} null where the log has no such series
 */
export function seriesCharts(run, reach) {
  return Object.fromEntries(Object.entries(SERIES).map(([key, name]) => [key, chartOf(run, name, reach)]));
}

function chartOf(run, name, reach) {
  const series = run.series[name];
  if (!series?.x.length) return null;
  const { label, unit, meaning } = metricWords(name);
  const [size, shown] = sizeOf(unit, series.y);
  const y = size === 1 ? series.y : series.y.map((value) => value / size);
  const line = { label: label.toLowerCase(), color: "--series-1", x: series.x, y, end: "" };
  return { title: label, unit: shown, room: 24, note: isImported(run) ? "As it was logged." : meaning, lines: [line], zero: true, ...reach };
}

/** Bytes as a reader's unit, shares as per cent. @returns {[number, string]} */
function sizeOf(unit, values) {
  if (unit === "ratio") return [0.01, "%"];
  if (unit !== "bytes") return [1, unit];
  const highest = values.filter(Number.isFinite).reduce((a, b) => Math.max(a, b), 0);
  return BYTE_UNITS.find(([size]) => highest >= size) ?? [1, "bytes"];
}
