/**
 * The runs that were trained in this page, as logs: `trainer` writes them, run views show them. What
 * is kept lies in this browser alone (`kept-runs.js`).
 */

import { parseEvent } from "./line.js";

/**
 * @typedef {object} PageRun
 * @property {string} id
 * @property {string} title what a reader calls it
 * @property {object} choices
 * @property {string} command the same run by the runner; empty where it would refuse
 * @property {string[]} lines of its log
 * @property {boolean} over
 * @property {object | null} end its last event
 * @property {boolean} [kept] in this browser, for the next visit
 */

class PageRuns extends EventTarget {
  /** @type {Map<string, PageRun>} in the order in which they began */
  all = new Map();

  /** @param {PageRun} run */
  add(run) {
    this.all.set(run.id, run);
    this.changed();
  }

  /** Appends to a run's log. Listeners of "events" hear `{id, events}`. */
  take(id, lines) {
    const run = this.all.get(id);
    run.lines.push(...lines);
    const events = eventsOf(lines);
    run.end = events.find(({ kind }) => kind === "run.end") ?? run.end;
    this.dispatchEvent(new CustomEvent("events", { detail: { id, events } }));
  }

  /** Says that the list, or something in it, is another one. */
  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** The log of a run as the file a runner would have written. */
  file(id) {
    const text = this.all.get(id).lines.map((line) => `${line}\n`).join("");
    return new File([text], `${id}.jsonl`, { type: "application/jsonl" });
  }
}

/** @returns {import("./line.js").Line[]} the events in lines of a log; damaged ones left out */
export function eventsOf(lines) {
  return lines.map(parseEvent).filter((event) => event !== null);
}

/** The runs of this page. */
export const pageRuns = new PageRuns();
