/**
 * The words of `unfrozen.events`, which the site builder puts into the page: labels, units, meanings. A name
 * without an entry (a log from a newer trainer) is shown as it is.
 */

import { schema } from "../schema/schema.js";

/**
 * @typedef {{name: string, unit: string, label: string, meaning: string, chart: string, fact: string}} Metric
 *
 * @param {string} series a metric, or a metric and the number of a GPU: "gpu/power/0"
 * @returns {Metric}
 */
export function metricOf(series) {
  const { metrics, per_gpu: perGpu } = schema();
  const [, base] = /^(.+)\/\d+$/.exec(series) ?? [];
  const name = perGpu.includes(base) ? base : series;
  const known = metrics.find((metric) => metric.name === name);
  return known ?? { name: series, unit: "1", label: series, meaning: "", chart: "", fact: "" };
}

/** @returns {Metric[]} those that stand at the head of a run */
export function factMetrics() {
  return schema().metrics.filter(({ fact }) => fact);
}

/** @returns {Map<string, Metric[]>} the metrics of each chart, by its title, in the order of the schema */
export function chartMetrics() {
  const charts = new Map();
  for (const metric of schema().metrics) {
    if (metric.chart) charts.set(metric.chart, [...(charts.get(metric.chart) ?? []), metric]);
  }
  return charts;
}

/** @returns {string[]} metrics of a step that a table of steps lists */
export function stepMetrics() {
  const isOfStep = ({ name, chart }) => chart && !/^(sys|gpu)\//.test(name);
  return ["train/loss", "opt/lr", ...schema().metrics.filter(isOfStep).map(({ name }) => name)];
}

/** @returns {[string, string][]} every instant of a step with its label, in the order of the step */
export function instants() {
  return Object.entries(schema().instants);
}

/** @returns {string} */
export function instantLabel(name) {
  return wordOf(schema().instants, name);
}

/** @returns {string} */
export function componentLabel(name) {
  return wordOf(schema().components, name);
}

/** @returns {boolean} whether a run of that status may be started again */
export function isResumable(status) {
  return schema().resumable.includes(status);
}

/** @returns {number} seconds of silence after which a run that promised a beat in `promised` is stalled */
export function silentAfter(promised) {
  const { patience, default_seconds: unpromised } = schema().silence;
  return patience * (promised ?? unpromised);
}

/** @returns {string[]} names of components in the order of the schema, unknown ones last */
export function inOrder(names) {
  const known = Object.keys(schema().components);
  const place = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return [...names].sort((a, b) => place(a) - place(b));
}

/** A name like `constructor` has no word here either. */
function wordOf(words, name) {
  return Object.hasOwn(words, name) ? words[name] : name;
}
