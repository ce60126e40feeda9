/**
 * The words of `unfrozen.events`, which the press puts into the page: labels, units, meanings. A name
 * without an entry (a log from a newer trainer) is shown as it is.
 */

let words = null;

function schema() {
  if (words === null) {
    const baked = document.getElementById("event-schema")?.textContent;
    words = baked ? JSON.parse(baked) : { metrics: [], instants: {}, components: {}, resumable: [] };
  }
  return words;
}

/** @returns {{name: string, unit: string, label: string, meaning: string}} */
export function metricWords(name) {
  const known = schema().metrics.find((metric) => metric.name === name);
  return known ?? { name, unit: "1", label: name, meaning: "" };
}

/** @returns {[string, string][]} every instant of a step with its label, in the order of the step */
export function instants() {
  return Object.entries(schema().instants);
}

/** @returns {string} */
export function instantLabel(name) {
  return schema().instants[name] ?? name;
}

/** @returns {string} */
export function componentLabel(name) {
  return schema().components[name] ?? name;
}

/** @returns {boolean} whether a run of that status may be started again */
export function isResumable(status) {
  return schema().resumable.includes(status);
}

/** @returns {string[]} names of components in the order of the schema, unknown ones last */
export function inOrder(names) {
  const known = Object.keys(schema().components);
  const place = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return [...names].sort((a, b) => place(a) - place(b));
}
