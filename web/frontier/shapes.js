/**
 * What Python says of events, tables and plots, which the site builder puts into the page
 * (`unfrozen.frontier.page`): the words that are shown, and the shapes that are checked.
 */

const NEVER = { patience: Infinity, default_seconds: 1 }; // what no schema tells is not said
const WORDS = { metrics: [], instants: {}, components: {}, resumable: [], silence: NEVER };
const NO_SHAPES = { most: { line: 0, deep: 0 }, head: null, events: {}, stepped: [], after_the_end: [], table: null, plots: null, run: null, recipe: null, answered: null };
let baked = null;

/** @returns {object} the words of `unfrozen.events`, and under `frontier` the shapes */
export function schema() {
  if (baked === null) {
    const text = document.getElementById("event-schema")?.textContent;
    baked = text ? JSON.parse(text) : { ...WORDS, frontier: NO_SHAPES };
  }
  return baked;
}

/** @returns {object} the shapes; in a page without them nothing is let in */
export function shapes() {
  return schema().frontier ?? NO_SHAPES;
}
