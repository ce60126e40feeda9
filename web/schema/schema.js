/**
 * What Python says of events, tables and plots, embedded into the page at build time
 * (`unfrozen.schema.page_schema`): labels to show, and shapes to check.
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

/** @returns {object} the shapes; a page without them lets nothing in */
export function shapes() {
  return schema().shapes ?? NO_SHAPES;
}
