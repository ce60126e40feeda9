/**
 * Follows one run of a server over any number of broken connections.
 *
 *   connecting ──200──▶ live ──cut──▶ gone ──200──▶ back ──next event──▶ live
 *       │                 └──run.end──▶ over                       (204 ──▶ over)
 *       ├──401/403──▶ refused                     nothing retries these three: they are answers
 *       └──404──────▶ missing
 *
 * The state of the reader is the offset after the last line it took. Every reconnect asks for what
 * lies behind it, so no event is lost and none comes twice. That a *run* is silent ("stalled") is
 * no matter of the connection; `notices.js` judges it by the trainer's own promise.
 */

import { LineCutter } from "./log-lines.js";

export const FIRST_DELAY_MS = 250;
export const LAST_DELAY_MS = 4000;
export const SILENCE_MS = 12_000; // the server sends a comment every 5 s

/**
 * @typedef {"connecting" | "live" | "gone" | "back" | "over" | "refused" | "missing"} StreamState
 * @typedef {{id: number, data: string, skipped: number}} Line one line of the log, the offset after
 *   it, and how many damaged lines lie before it
 */

const FINAL = { 204: "over", 401: "refused", 403: "refused", 404: "missing" };

/**
 * Follows until the run is over, the server refuses, or `signal` aborts. Never rejects.
 * @param {object} source
 * @param {string} source.url address of the run's events, without a query
 * @param {string} source.token bearer token
 * @param {AbortSignal} source.signal
 * @param {number} [source.offset] where to begin: 0, or the `id` of a line
 * @param {boolean} [source.once] over one connection only
 * @param {(lines: Line[]) => void | Promise<void>} source.onLines every batch, in order; nothing
 *   more is read until its promise is kept
 * @param {(state: StreamState) => void} source.onState
 * @param {() => void} source.onRestart the log is not the one we read: begin again from nothing
 * @param {(alive: "yes" | "no" | "unknown") => void} source.onWriter whether the trainer lives
 * @param {() => void} [source.onCaughtUp] what the log held when the connection opened has been read
 * @param {typeof fetch} [source.fetch]
 * @returns {Promise<boolean>} whether it ended with an answer rather than a broken connection
 */
export async function followLines(source) {
  const reader = { offset: 0, ...source, over: false, fetch: source.fetch ?? fetch.bind(globalThis) };
  let failures = 0;
  source.onState("connecting");
  while (!source.signal.aborted) {
    const outcome = await connect(reader, failures);
    if (source.signal.aborted) break;
    if (outcome.final) {
      source.onState(outcome.final);
      break;
    }
    failures = outcome.opened ? 1 : failures + 1;
    source.onState("gone");
    if (source.once) return false;
    await wait(Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), LAST_DELAY_MS), source.signal);
  }
  return true;
}

/** One connection, from the request to its end. */
async function connect(reader, failures) {
  const attempt = new AbortController();
  const cancel = () => attempt.abort();
  reader.signal.addEventListener("abort", cancel, { once: true });
  const watchdog = makeWatchdog(cancel);
  let opened = false;
  try {
    const response = await reader.fetch(`${reader.url}?after=${reader.offset}`, {
      headers: { Authorization: `Bearer ${reader.token}` },
      cache: "no-store",
      signal: attempt.signal,
    });
    if (FINAL[response.status]) return { final: FINAL[response.status] };
    if (response.status === 400) restart(reader);
    if (!response.ok) return { opened };
    opened = true;
    reader.onState(failures ? "back" : "live");
    await readAll(reader, response.body, watchdog);
    return reader.over ? { final: "over" } : { opened };
  } catch {
    return { opened }; // a cut connection is the normal case here; the loop says "gone"
  } finally {
    watchdog.stop();
    reader.signal.removeEventListener("abort", cancel);
    cancel();
  }
}

/** Our offset is no end of a line any more: the file was replaced. Read it from its start. */
function restart(reader) {
  reader.offset = 0;
  reader.onRestart();
}

async function readAll(reader, body, watchdog) {
  const parser = new SseParser();
  const chunks = body.getReader();
  const batch = { skipped: 0 };
  for (;;) {
    const { done, value } = await chunks.read();
    if (done) return;
    watchdog.stop(); // whoever takes the lines may take their time
    await takeFrames(reader, parser.push(value), batch);
    watchdog.feed();
  }
}

async function takeFrames(reader, frames, batch) {
  const lines = [];
  let caughtUp = false;
  for (const frame of frames) {
    if ("comment" in frame) {
      const [word, value] = frame.comment.split(" ");
      if (word === "skipped") batch.skipped += Number(value);
      if (word === "writer") reader.onWriter(value);
      if (word === "caught-up") caughtUp = true;
      continue;
    }
    reader.offset = frame.id;
    lines.push({ ...frame, skipped: batch.skipped });
    batch.skipped = 0;
  }
  if (lines.length) {
    reader.over = isEnd(lines.at(-1).data);
    await reader.onLines(lines);
  }
  if (caughtUp) reader.onCaughtUp?.();
}

/** Whether a line is the last of its run, as far as this can be seen without the page's schema. */
function isEnd(text) {
  try {
    return JSON.parse(text)?.kind === "run.end";
  } catch {
    return false;
  }
}

function makeWatchdog(bark) {
  let timer = setTimeout(bark, SILENCE_MS);
  return {
    feed() {
      clearTimeout(timer);
      timer = setTimeout(bark, SILENCE_MS);
    },
    stop: () => clearTimeout(timer),
  };
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** @typedef {{id: number, data: string} | {comment: string}} Frame */

export class SseParser {
  #decoder = new TextDecoder();
  #cutter = new LineCutter();
  #id = "";
  #data = [];

  /**
   * Takes the next bytes and returns the frames that are complete with them.
   * @param {Uint8Array} bytes may end anywhere, also inside a character
   * @returns {Frame[]}
   */
  push(bytes) {
    const lines = this.#cutter.push(this.#decoder.decode(bytes, { stream: true }));
    return lines.flatMap((line) => this.#take(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  #take(line) {
    if (line.startsWith(":")) return [{ comment: line.slice(1).trim() }];
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") this.#id = value;
    if (field === "data") this.#data.push(value);
    return [];
  }

  #dispatch() {
    if (this.#data.length === 0) return [];
    const frame = { id: Number(this.#id), data: this.#data.join("\n") };
    this.#data = [];
    return [frame];
  }
}
