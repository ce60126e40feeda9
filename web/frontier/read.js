/** Text to a value, bounded in length and depth: `unfrozen.frontier.read` in JavaScript. */

import { shapes } from "./shapes.js";

const OPEN_LIST = 91; // [
const OPEN_OBJECT = 123; // {
const MARKS = /"[^"\\]*(?:\\[^][^"\\]*)*"?|[[\]{}]/g;

/**
 * @param {string} text
 * @param {number} most UTF-16 units
 * @param {string} name stands for the text in the sentence
 * @returns {import("./check.js").Verdict} never throws
 */
export function read(text, most, name = "it") {
  if (text.length > most) return refused(`${name} has ${tooLong(text.length, most)}`);
  const { deep } = shapes().most;
  if (isDeep(text, deep)) return refused(`${name} is nested more than ${deep} deep`);
  try {
    return { value: JSON.parse(text), problem: "", unknown: 0 };
  } catch {
    return refused(`${name} is not JSON`);
  }
}

/** @returns {string} what is said of a text of `length` where `most` are read */
export function tooLong(length, most) {
  return `${length.toLocaleString("en")} characters; at most ${most.toLocaleString("en")} are read`;
}

/** @returns {import("./check.js").Verdict} */
export function refused(problem) {
  return { value: null, problem, unknown: 0 };
}

function isDeep(text, most) {
  let opened = 0;
  for (let at = 0; at < text.length && opened <= most; at += 1) {
    const code = text.charCodeAt(at);
    if (code === OPEN_LIST || code === OPEN_OBJECT) opened += 1;
  }
  if (opened <= most) return false;
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
