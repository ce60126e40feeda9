/**
 * The words of `unfrozen.events`, which the site builder puts into the page: labels, units, meanings. A name
 * without an entry (a log from a newer trainer) is shown as it is.
 */

import { schema } from "../schema/schema.js";

/** @returns {{name: string, unit: string, label: string, meaning: string}} */
export function metricWords(name) {
  const { metrics, per_card: perCard } = schema();
  const [, base] = /^(.+)\/\d+$/.exec(name) ?? [];
  const wanted = perCard.includes(base) ? base : name;
  const known = metrics.find((metric) => metric.name === wanted);
  return known ?? { name, unit: "1", label: name, meaning: "" };
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
