/** One line of a log, checked where it enters: nothing of a run is drawn that did not pass here. */

import { readLine } from "../schema/event-log.js";

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

/* global MAX_LINE_LENGTH -- written in by web/site_builder/assets.py: of an event's line, in `unfrozen.schema.event_log` */

const FIELD = 64; // of a line of server-sent events: "data: " before what it carries

export class LineCutter {
  #rest = "";

  /** Whether a line has begun that has no end yet. */
  get isInside() {
    return this.#rest !== "";
  }

  /**
   * @param {string} text the next piece
   * @returns {string[]} the lines that are whole with it, without their newlines
   */
  push(text) {
    const kept = MAX_LINE_LENGTH + FIELD;
    const [first, ...others] = text.split("\n");
    if (this.#rest.length < kept) this.#rest += first;
    if (this.#rest.length > kept) this.#rest = this.#rest.slice(0, kept);
    if (others.length === 0) return [];
    const lines = [this.#rest, ...others];
    this.#rest = lines.pop();
    return lines;
  }
}
