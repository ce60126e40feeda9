/** Text to a value, bounded in length and depth: `unfrozen.frontier.read` in JavaScript. */

import { shapes } from "./shapes.js";

const MARKS = /"[^"\\]*(?:\\[^][^"\\]*)*"?|[[\]{}]/g;

/**
 * @param {string} text
 * @param {number} most UTF-16 units
 * @param {string} name stands for the text in the sentence
 * @returns {import("./check.js").Verdict} never throws
 */
export function read(text, most, name = "it") {
  if (text.length > most) return refused(`${name} is longer than ${most.toLocaleString("en")} characters`);
  const { deep } = shapes().most;
  if (isDeep(text, deep)) return refused(`${name} is nested more than ${deep} deep`);
  try {
    return { value: JSON.parse(text), problem: "", unknown: 0 };
  } catch {
    return refused(`${name} is not JSON`);
  }
}

/** @returns {import("./check.js").Verdict} */
export function refused(problem) {
  return { value: null, problem, unknown: 0 };
}

function isDeep(text, most) {
  if (count(text, "[", most) + count(text, "{", most) <= most) return false;
  let deep = 0;
  for (const [mark] of text.matchAll(MARKS)) {
    if (mark === "[" || mark === "{") {
      deep += 1;
      if (deep > most) return true;
    } else if (mark === "]" || mark === "}") {
      deep -= 1;
    }
  }
  return false;
}

/** How often a character stands in a text; no further than `most` + 1. */
function count(text, character, most) {
  let found = 0;
  for (let at = text.indexOf(character); at >= 0 && found <= most; found += 1) {
    at = text.indexOf(character, at + 1);
  }
  return found;
}
