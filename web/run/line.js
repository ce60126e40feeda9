/** One line of a log, checked where it enters: nothing of a run is drawn that did not pass here. */

import { readLine } from "../frontier/log.js";

/**
 * @typedef {Record<string, any> | {refused: string}} Line an event, its known fields only, with the
 *   number of others in `unknown`; or why the line is none
 */

/** @returns {Line | null} null for a damaged line: no JSON, as a kill in the middle of a write leaves it */
export function parseEvent(line) {
  const { value, problem, unknown } = readLine(line);
  if (problem.endsWith(" is not JSON")) return null;
  if (problem) return { refused: problem };
  if (unknown) value.unknown = unknown;
  return value;
}

/**
 * @param {string[]} texts lines of a log
 * @returns {{events: object[], damaged: number}}
 */
export function parseLines(texts) {
  const events = texts.map(parseEvent).filter((event) => event !== null);
  return { events, damaged: texts.length - events.length };
}
