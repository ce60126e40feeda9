/**
 * The schema of events, tables and plots, which the site builder embeds into the page (`unfrozen.schema.page_schema`):
 * labels, units and meanings to show, and shapes to check. A name without an entry, as in the log of a newer trainer, is
 * shown unchanged.
 */

const NO_SILENCE = { patience: Infinity, default_seconds: 1 };
const NO_LABELS = { metrics: [], instants: {}, components: {}, resumable: [], silence: NO_SILENCE };
const NO_SHAPES = {
  max_line_length: 0, max_depth: 0, head: null, events: {}, stepped: [], after_the_end: [],
  table: null, plots: null, run: null, recipe: null, answer: null,
};
let embedded = null;

/** @returns {object} the labels of `unfrozen.events`, and under `shapes` the shapes */
export function schema() {
  if (embedded === null) {
    const text = document.getElementById("event-schema")?.textContent;
    embedded = text ? JSON.parse(text) : { ...NO_LABELS, shapes: NO_SHAPES };
  }
  return embedded;
}

/** @returns {object} the shapes; a page without them accepts nothing */
export function shapes() {
  return schema().shapes ?? NO_SHAPES;
}

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

/** @returns {Metric[]} those shown at the head of a run */
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

/** @returns {string[]} metrics of the table of steps */
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
  return labelOf(schema().instants, name);
}

/** @returns {string} */
export function componentLabel(name) {
  return labelOf(schema().components, name);
}

/** @returns {boolean} whether a run of that status may be started again */
export function isResumable(status) {
  return schema().resumable.includes(status);
}

/** @returns {number} seconds without an event after which a run that promised a heartbeat in `promised` is stalled */
export function stalledAfter(promised) {
  const { patience, default_seconds: byDefault } = schema().silence;
  return patience * (promised ?? byDefault);
}

/** @returns {string[]} names of components in the order of the schema, unknown ones last */
export function sortComponents(names) {
  const known = Object.keys(schema().components);
  const place = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return [...names].sort((a, b) => place(a) - place(b));
}

/** @returns {string} "task" → "Task", "general/copying" → "Copying" */
export function suiteLabel(suite) {
  const name = suite.split("/").at(-1).replaceAll("_", " ");
  return name.charAt(0).toUpperCase() + name.slice(1);
}

function labelOf(labels, name) {
  return Object.hasOwn(labels, name) ? labels[name] : name;
}
