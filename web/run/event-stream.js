/**
 * Follows runs of this page's server while the window is visible, over any number of broken connections.
 *
 * A browser opens at most six connections to one host over HTTP/1.1, for all of its windows together. A hidden window
 * holds none, and continues after its last line when it is visible again. Of the visible windows, STREAMS hold a
 * connection that stays open; Web Locks count them, and the browser releases the lock of a window that closes or
 * crashes. Every other window polls over a short connection, one window at a time, every POLL_MS, and takes over an open
 * connection as soon as one is free. So the list of runs and the reader's commands always have a connection left.
 *
 *   visible ──a lock is free──▶ open connection, every event at once
 *      └─────none is free─────▶ "shared": a short connection every few seconds; the view says so
 *
 * One connection after another is read by `followLines`:
 *
 *   connecting ──200──▶ live ──cut──▶ gone ──200──▶ back ──next event──▶ live
 *       │                 └──run.end──▶ over                       (204 ──▶ over)
 *       ├──401/403──▶ refused                     these three are final: nothing is retried
 *       └──404──────▶ missing
 *
 * Every reconnect asks for what follows the offset of the last line, so no event is lost or repeated. A *run* that sends
 * nothing ("stalled") is no matter of the connection: notices.js judges it by the heartbeat that the trainer promised.
 */

import { SITE } from "../page/site.js";
import { LineSplitter, parseLines } from "./log-reader.js";
import { currentToken } from "./runner.js";

export const STREAMS = 4;
export const POLL_MS = 3000;
const LOCK = "unfrozen-stream";
const FIRST_DELAY_MS = 250;
const LAST_DELAY_MS = 4000;
const TIMEOUT_MS = 12_000; // the server sends a comment every 5 s
const FINAL_STATES = { 204: "over", 401: "refused", 403: "refused", 404: "missing" };

/**
 * Follows one run of the server until it is over, the server refuses, or `signal` aborts. Never rejects.
 * @param {object} source
 * @param {string} source.run id
 * @param {AbortSignal} source.signal
 * @param {(events: object[], skipped: number, offset: number) => void} source.onEvents every batch, in order, and where it ends
 * @param {(state: StreamState) => void} source.onState
 * @param {() => void} source.onRestart the log was replaced: start over from an empty run
 * @param {(alive: "yes" | "no" | "unknown") => void} source.onWriter whether the trainer's process runs
 * @param {(caughtUp: boolean) => void} source.onCaughtUp whether all that the log holds was read
 * @param {(unread: number, read: number) => void} source.onSize bytes of the log, every few seconds
 * @param {(shared: boolean) => void} source.onShared whether other windows hold the open connections
 * @param {object} [browser] stand-ins for tests
 */
export async function followRun(source, { page = document, locks = navigator.locks, follow = followLines } = {}) {
  const reader = { ...source, follow, offset: 0, state: "" };
  setState(reader, "connecting");
  while (!source.signal.aborted && !isFinal(reader)) {
    await untilVisible(page, source.signal);
    const visibility = whileVisible(page, source.signal);
    await readWhile(visibility.signal, reader, locks);
    visibility.end();
    if (!source.signal.aborted && page.hidden) source.onCaughtUp(false);
  }
}

/** Reads over an open connection if one is free, else over short ones. */
async function readWhile(visible, reader, locks) {
  while (!visible.aborted && !isFinal(reader)) {
    const release = await takeStream(locks);
    reader.onShared(release === null);
    if (release) {
      await read(visible, reader, false);
      release();
    } else {
      await locks.request(`${LOCK}-turn`, { signal: visible }, () => read(visible, reader, true)).catch(() => {
        // The window was hidden while it waited for its turn: it asks again when it is visible.
      });
      await wait(POLL_MS, visible);
    }
  }
}

/** Reads after the last line; a short connection ends when all that the log holds has been read. */
async function read(visible, reader, isShort) {
  const end = new AbortController();
  await reader.follow({
    url: new URL(`api/runs/${encodeURIComponent(reader.run)}/events`, SITE),
    token: await currentToken(),
    signal: AbortSignal.any([visible, end.signal]),
    offset: reader.offset,
    once: isShort,
    onLines: (lines) => takeLines(reader, lines),
    onState: (state) => setState(reader, state),
    onWriter: reader.onWriter,
    onSize: reader.onSize,
    onRestart: () => {
      reader.offset = 0;
      reader.onRestart();
    },
    onCaughtUp: () => {
      reader.onCaughtUp(true);
      if (isShort) end.abort();
    },
  });
}

function isFinal({ state }) {
  return Object.values(FINAL_STATES).includes(state);
}

function takeLines(reader, lines) {
  reader.offset = lines.at(-1).id;
  const { events, damaged } = parseLines(lines.map(({ data }) => data));
  reader.onEvents(events, lines.reduce((sum, { skipped }) => sum + skipped, damaged), reader.offset);
}

/** Reports a state once; a connection that is restored is "back". */
function setState(reader, state) {
  const isLost = reader.state === "gone" || reader.state === "back";
  const next = state === "live" && isLost ? "back" : state;
  if (next === reader.state || (next === "connecting" && reader.state)) return;
  reader.state = next;
  reader.onState(next);
}

/**
 * Takes one of the open connections that the windows of this browser share.
 * @returns {Promise<(() => void) | null>} releases it; null when all are taken
 */
async function takeStream(locks) {
  if (!locks) return () => {}; // without Web Locks connections are not counted
  for (let place = 0; place < STREAMS; place += 1) {
    const release = await takeLock(locks, `${LOCK}-${place}`);
    if (release) return release;
  }
  return null;
}

function takeLock(locks, name) {
  return new Promise((settle) => {
    const hold = (lock) => (lock ? new Promise((release) => settle(release)) : settle(null));
    locks.request(name, { ifAvailable: true }, hold).catch(() => settle(null));
  });
}

async function untilVisible(page, signal) {
  while (page.hidden && !signal.aborted) {
    await new Promise((resolve) => {
      page.addEventListener("visibilitychange", resolve, { once: true });
      signal.addEventListener("abort", resolve, { once: true });
    });
  }
}

/** Returns a signal that aborts when the window is hidden, or with `signal`; `end` removes the listener. */
function whileVisible(page, signal) {
  const [hidden, ended] = [new AbortController(), new AbortController()];
  const update = () => page.hidden && hidden.abort();
  page.addEventListener("visibilitychange", update, { signal: ended.signal });
  update();
  return { signal: AbortSignal.any([signal, hidden.signal]), end: () => ended.abort() };
}

/**
 * @typedef {"connecting" | "live" | "gone" | "back" | "over" | "refused" | "missing"} StreamState
 * @typedef {{id: number, data: string, skipped: number}} Line one line of the log, the offset after
 *   it, and how many damaged lines lie before it
 */

/**
 * Reads the lines of a run until it is over, the server refuses, or `signal` aborts. Never rejects.
 * @param {object} source
 * @param {string} source.url address of the run's events, without a query
 * @param {string} source.token bearer token
 * @param {AbortSignal} source.signal
 * @param {number} [source.offset] where to begin: 0, or the `id` of a line
 * @param {boolean} [source.once] over one connection only
 * @param {(lines: Line[]) => void | Promise<void>} source.onLines every batch, in order; nothing
 *   more is read until its promise resolves
 * @param {() => void} [source.onCaughtUp] what the log held when the connection opened has been read; the others as of `followRun`
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
  const watchdog = startWatchdog(() => attempt.abort());
  let opened = false;
  try {
    const response = await reader.fetch(`${reader.url}?after=${reader.offset}`, {
      headers: { Authorization: `Bearer ${reader.token}` },
      cache: "no-store",
      signal: AbortSignal.any([reader.signal, attempt.signal]),
    });
    if (FINAL_STATES[response.status]) return { final: FINAL_STATES[response.status] };
    if (response.status === 400) restart(reader);
    if (!response.ok) return { opened };
    opened = true;
    reader.onState(failures ? "back" : "live");
    await readAll(reader, response.body, watchdog);
    return reader.over ? { final: "over" } : { opened };
  } catch {
    return { opened }; // a broken connection is normal here; the loop reports "gone"
  } finally {
    watchdog.stop();
    attempt.abort();
  }
}

/** The offset is no end of a line: the file was replaced, and is read from its start. */
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
    watchdog.stop(); // taking the lines may take long
    await takeEvents(reader, parser.push(value), batch);
    watchdog.feed();
  }
}

async function takeEvents(reader, events, batch) {
  const lines = [];
  let caughtUp = false;
  let size = 0;
  for (const event of events) {
    if ("comment" in event) {
      const [word, value] = event.comment.split(" ");
      if (word === "skipped") batch.skipped += Number(value);
      if (word === "writer") reader.onWriter(value);
      if (word === "size") size = Number(value);
      if (word === "caught-up") caughtUp = true;
      continue;
    }
    reader.offset = event.id;
    event.skipped = batch.skipped;
    lines.push(event);
    batch.skipped = 0;
  }
  if (lines.length) {
    reader.over = isEnd(lines.at(-1).data);
    await reader.onLines(lines);
  }
  if (caughtUp) reader.onCaughtUp?.();
  if (size) reader.onSize?.(size - reader.offset, reader.offset);
}

/** Whether a line may be the last of its log, without checking it. */
function isEnd(text) {
  try {
    return ["run.end", "blend"].includes(JSON.parse(text)?.kind);
  } catch {
    return false;
  }
}

function startWatchdog(expire) {
  let timer = 0;
  const stop = () => clearTimeout(timer);
  const feed = () => {
    stop();
    timer = setTimeout(expire, TIMEOUT_MS);
  };
  feed();
  return { feed, stop };
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** @typedef {{id: number, data: string} | {comment: string}} ServerSentEvent */

/** Parses a stream of server-sent events. */
export class SseParser {
  #decoder = new TextDecoder();
  #splitter = new LineSplitter();
  #id = "";
  #data = "";

  /**
   * Takes the next bytes and returns the events that they complete.
   * @param {Uint8Array} bytes may end anywhere, also inside a character
   * @returns {ServerSentEvent[]}
   */
  push(bytes) {
    const lines = this.#splitter.push(this.#decoder.decode(bytes, { stream: true }));
    return lines.flatMap((line) => this.#take(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  #take(line) {
    if (line.startsWith(":")) return [{ comment: line.slice(1).trim() }];
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") this.#id = value;
    if (field === "data") this.#data = value; // one line: an event of a log
    return [];
  }

  #dispatch() {
    if (!this.#data) return [];
    const event = { id: Number(this.#id), data: this.#data };
    this.#data = "";
    return [event];
  }
}
