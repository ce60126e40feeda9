/** Charts of measured series: the optimizer's, the experts', the process's, the machine's, its cards'. */

import { isImported } from "../imported.js";
import { metricWords } from "../schema.js";

const SERIES = {
  norm: ["train/grad_norm"],
  pace: ["perf/step_seconds"],
  resident: ["sys/rss_bytes"],
  stalled: ["opt/stalled_ratio"],
  balance: ["router/balance_loss"],
  busiest: ["router/load_max"],
  moved: ["router/load_drift"],
  processors: ["sys/process_cpu", "sys/machine_cpu"],
  ram: ["sys/ram_bytes", "sys/ram_total_bytes"],
};
/** Of each card there is one line: `gpu/power/0`, `gpu/power/1`, … */
const CARDS = {
  cardMemory: "gpu/memory_bytes",
  cardUse: "gpu/busy",
  cardPower: "gpu/power",
  cardHeat: "gpu/temperature",
  cardClocks: "gpu/throttled",
};
const TITLES = { processors: "Processors", ram: "Memory of the machine" };
const COLORS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
const BYTE_UNITS = [
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
];

/** Names of the charts, in their order. */
export const SERIES_CHARTS = [...Object.keys(SERIES), ...Object.keys(CARDS)];

/**
 * @param {import("./charts.js").Run} run
 * @param {object} reach where the axis ends: {of, lastStep, planned}
 * @returns {Record<string, import("./chart.js").Chart | null>} null where the log has no such series
 */
export function seriesCharts(run, reach) {
  const charts = Object.entries(SERIES).map(([key, names]) => [key, chartOf(run, TITLES[key], labelled(names), reach)]);
  const cards = Object.entries(CARDS).map(([key, name]) => [key, chartOf(run, undefined, cardsOf(run, name), reach)]);
  return Object.fromEntries([...charts, ...cards]);
}

/** @returns {[string, string][]} [series, what its line is called] */
function labelled(names) {
  return names.map((name) => [name, metricWords(name).label.toLowerCase()]);
}

function cardsOf({ series }, name) {
  const found = Object.keys(series).filter((other) => other.startsWith(`${name}/`));
  const numbered = found.map((other) => [other, Number(other.slice(name.length + 1))]);
  return numbered.sort((a, b) => a[1] - b[1]).map(([other, number]) => [other, `card ${number}`]);
}

function chartOf(run, title, named, reach) {
  const present = named.filter(([name]) => run.series[name]?.x.length);
  if (present.length === 0) return null;
  const words = present.map(([name]) => metricWords(name));
  const values = present.flatMap(([name]) => run.series[name].y);
  const [size, shown] = sizeOf(words[0].unit, values);
  const isAlone = present.length === 1;
  const lines = present.map(([name, label], index) => {
    const { x, y } = run.series[name];
    const color = COLORS[index % COLORS.length];
    return { label, color, x, y: size === 1 ? y : y.map((value) => value / size), end: isAlone ? "" : undefined };
  });
  const note = isImported(run) ? "As it was logged." : [...new Set(words.map(({ meaning }) => meaning))].join(" ");
  const room = isAlone ? 24 : 112;
  return { title: title ?? words[0].label, unit: shown, room, note, lines, zero: true, ...reach };
}

/** Bytes as a reader's unit, shares as per cent. @returns {[number, string]} */
function sizeOf(unit, values) {
  if (unit === "ratio") return [0.01, "%"];
  if (unit !== "bytes") return [1, unit];
  const highest = values.filter(Number.isFinite).reduce((a, b) => Math.max(a, b), 0);
  return BYTE_UNITS.find(([size]) => highest >= size) ?? [1, "bytes"];
}
