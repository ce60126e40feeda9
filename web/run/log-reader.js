/**
 * Reads logs: lines out of pieces of text, events out of lines, whole recordings and files. Every line is checked
 * here, so nothing of a run is drawn unchecked. The main thread is free between batches, so that the page stays
 * responsive.
 */

/* global MAX_LINE_LENGTH -- written in by web/site_builder/assets.py: of an event's line, in `unfrozen.schema.event_log` */

import { SITE } from "../page/site.js";
import { readLine } from "../schema/event-log.js";

const BATCH_LINES = 2000;
const FIELD_LENGTH = 64; // of a line of server-sent events: "data: " before the event

/**
 * @typedef {Record<string, any> | {refused: string}} Line an event with its known fields, and the number of others in
 *   `unknown`; or why the line is refused
 */

/** @returns {Line | null} null for a damaged line: no JSON, as left by a process killed in the middle of a write */
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

/** Splits text that arrives in pieces into lines; a line that is too long is cut, and refused later. */
export class LineSplitter {
  #rest = "";

  /** Whether the text so far ends inside a line. */
  get isInside() {
    return this.#rest !== "";
  }

  /**
   * @param {string} text the next piece
   * @returns {string[]} the lines that it completes, without their newlines
   */
  push(text) {
    const limit = MAX_LINE_LENGTH + FIELD_LENGTH;
    const [first, ...others] = text.split("\n");
    if (this.#rest.length < limit) this.#rest += first;
    if (this.#rest.length > limit) this.#rest = this.#rest.slice(0, limit);
    if (others.length === 0) return [];
    const lines = [this.#rest, ...others];
    this.#rest = lines.pop();
    return lines;
  }
}

/**
 * Reads a whole log.
 * @param {Blob | Response} source
 * @param {(events: object[], skipped: number) => void} onEvents every batch, in order
 * @param {AbortSignal} signal stops between two batches
 */
export async function readLog(source, onEvents, signal) {
  const take = (lines) => {
    const { events, damaged } = parseLines(lines);
    onEvents(events, damaged);
  };
  if (await readLines(source, take, signal)) onEvents([], 1); // the last line was never finished
}

/**
 * Reads the lines of a whole log.
 * @param {Blob | Response} source
 * @param {(lines: string[]) => void} onLines every batch, in order, without empty ones
 * @param {AbortSignal} signal stops between two batches
 * @returns {Promise<boolean>} whether it ends inside a line
 */
export async function readLines(source, onLines, signal) {
  const body = source instanceof Blob ? source.stream() : source.body;
  const chunks = body.pipeThrough(new TextDecoderStream()).getReader();
  const splitter = new LineSplitter();
  for (;;) {
    const { done, value } = await chunks.read();
    if (signal.aborted) return cancelled(chunks);
    if (done) return splitter.isInside;
    const lines = splitter.push(value);
    for (let from = 0; from < lines.length; from += BATCH_LINES) {
      onLines(lines.slice(from, from + BATCH_LINES).filter((line) => line !== ""));
      await nextMessage();
      if (signal.aborted) return cancelled(chunks);
    }
  }
}

function cancelled(chunks) {
  void chunks.cancel();
  return false;
}

/** Lets input and drawing run. A message is not throttled the way nested timers are. */
function nextMessage() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (port1.close(), resolve());
    port2.postMessage(null);
  });
}

/** @typedef {{name: string, title: string, description: string, run: object}} Recording run: see `RunInfo.recorded` */

/** @returns {Promise<Recording[]>} empty when the list cannot be read */
export async function listRecordings() {
  try {
    const answer = await fetch(new URL("recordings/index.json", SITE));
    const listed = answer.ok ? await answer.json() : [];
    return listed.map(({ file, title, description, run }) => ({ name: file, title, description, run }));
  } catch {
    return []; // offline: the chooser lists none
  }
}

/** Fetches a recording. Rejects when it cannot be read, and names those that can. */
export async function fetchRecording(name) {
  const answer = await fetch(new URL(`recordings/${encodeURIComponent(name)}`, SITE));
  if (answer.ok) return answer;
  const others = (await listRecordings()).map((one) => one.name);
  throw new Error(`The recording ${name} cannot be read (${answer.status}). This site has ${others.join(", ") || "none"}.`);
}
