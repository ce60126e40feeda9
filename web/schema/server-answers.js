/** The answers of a server of runs, checked before they are drawn or acted on. */

import { check } from "./check.js";
import { shapes } from "./schema.js";

/**
 * @param {unknown} list of runs, parsed
 * @returns {import("../run/runner.js").RunInfo[]} what is no run stands at the end, with its fault
 */
export function runsIn(list) {
  const { run } = shapes();
  if (run === null) return [];
  if (!Array.isArray(list)) return [unreadable("what the server sent is no list of runs")];
  const verdicts = list.map((entry, index) => check(run, entry, `entry ${index + 1}`));
  const refused = verdicts.filter(({ problem }) => problem);
  const runs = verdicts.flatMap(({ value }) => (value === null ? [] : [{ ...value }]));
  return [...runs, ...refused.map(({ problem }) => unreadable(problem))];
}

/**
 * @typedef {object} Answer
 * @property {boolean} [allowed]
 * @property {import("../run/control.js").Recipe[]} [recipes] one that cannot be read says so, and cannot be started
 * @property {number | null} [seq]
 * @property {import("../run/control.js").Started | null} [started]
 */

/**
 * @param {string} text an answer of /api/control, or to a command
 * @returns {Answer | null} null where it is not as it must be
 */
export function answerIn(text) {
  const shape = shapes();
  let data = null;
  try {
    data = JSON.parse(text);
  } catch {
    return null; // whoever asked says so
  }
  const { recipes, ...rest } = Object(data);
  const known = shape.answer && data !== null ? check(shape.answer, rest).value : null;
  if (known === null) return null;
  return { ...known, ...(Array.isArray(recipes) && { recipes: recipes.map((one) => recipeIn(shape.recipe, one)) }) };
}

function recipeIn(shape, one) {
  const { value, problem } = check(shape, one, "it");
  return value ?? { name: "A recipe", problem: `the page cannot read it: ${problem}`, numbers: {} };
}

function unreadable(problem) {
  return { id: "", status: "unreadable", model: "", step: 0, steps: 0, started: 0, updated: 0, bytes: 0, problem };
}
