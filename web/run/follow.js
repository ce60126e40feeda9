/**
 * Follows runs of this page's server, for as long as the window is visible.
 *
 * A browser opens at most six connections to one host over HTTP/1.1, for all of its windows together.
 * A hidden window holds none: it rests, and continues after its last line when it is visible again. Of the
 * visible windows, STREAMS hold a connection that stays open; Web Locks count them, and the browser
 * releases the lock of a window that closes or crashes. Every other window reads what is new over a short
 * connection, one window at a time, every TURN_MS, and takes over an open connection as soon as one is
 * free. So the list of runs and the reader's commands always have a connection left.
 *
 *   visible ──a lock is free──▶ open connection, every event at once
 *      └─────none is free─────▶ "shared": a short connection every few seconds; the view says so
 */

import { followLines } from "./event-stream.js";
import { parseLines } from "./log-lines.js";
import { currentToken } from "./token.js";

export const STREAMS = 4;
export const TURN_MS = 3000;
const LOCK = "unfrozen-stream";
const FINAL = ["over", "refused", "missing"];

/**
 * Follows one run of the server until it is over, the server refuses, or `signal` aborts. Never rejects.
 * @param {object} source
 * @param {string} source.run id
 * @param {AbortSignal} source.signal
 * @param {(events: object[], skipped: number) => void} source.onEvents every batch, in order
 * @param {(state: import("./event-stream.js").StreamState) => void} source.onState
 * @param {() => void} source.onRestart the log is not the one we read: begin again from nothing
 * @param {(alive: "yes" | "no" | "unknown") => void} source.onWriter whether the trainer lives
 * @param {(caughtUp: boolean) => void} source.onCaughtUp whether all that the log holds was read
 * @param {(shared: boolean) => void} source.onShared whether other windows hold the open connections
 * @param {object} [browser] what this needs of the browser
 */
export async function followRun(source, { page = document, locks = navigator.locks, follow = followLines } = {}) {
  const reader = { ...source, follow, offset: 0, state: "" };
  setState(reader, "connecting");
  while (!source.signal.aborted && !FINAL.includes(reader.state)) {
    await untilVisible(page, source.signal);
    const sight = whileVisible(page, source.signal);
    await readWhile(sight.signal, reader, locks);
    sight.end();
    if (!source.signal.aborted && page.hidden) source.onCaughtUp(false);
  }
}

/** Reads over an open connection if one is left for this window, else over short ones. */
async function readWhile(visible, reader, locks) {
  while (!visible.aborted && !FINAL.includes(reader.state)) {
    const release = await takeStream(locks);
    reader.onShared(release === null);
    if (release) {
      await read(visible, reader, false);
      release();
    } else {
      await locks.request(`${LOCK}-turn`, { signal: visible }, () => read(visible, reader, true)).catch(() => {
        // The window was hidden while it waited for its turn: it asks again when it is visible.
      });
      await rest(TURN_MS, visible);
    }
  }
}

/** Reads after the last line; a short connection ends when all that the log holds has been read. */
async function read(visible, reader, isShort) {
  const line = new AbortController();
  const end = () => line.abort();
  visible.addEventListener("abort", end);
  if (visible.aborted) end();
  await reader.follow({
    url: `api/runs/${encodeURIComponent(reader.run)}/events`,
    token: currentToken(),
    signal: line.signal,
    offset: reader.offset,
    once: isShort,
    onLines: (lines) => takeLines(reader, lines),
    onState: (state) => setState(reader, state),
    onWriter: reader.onWriter,
    onRestart: () => {
      reader.offset = 0;
      reader.onRestart();
    },
    onCaughtUp: () => {
      reader.onCaughtUp(true);
      if (isShort) end();
    },
  });
  visible.removeEventListener("abort", end);
}

function takeLines(reader, lines) {
  reader.offset = lines.at(-1).id;
  const { events, damaged } = parseLines(lines.map(({ data }) => data));
  reader.onEvents(events, lines.reduce((sum, { skipped }) => sum + skipped, damaged));
}

/** Reports a state once; a connection that comes again after it was lost is "back". */
function setState(reader, state) {
  const isLost = reader.state === "gone" || reader.state === "back";
  const next = state === "live" && isLost ? "back" : state;
  if (next === reader.state || (next === "connecting" && reader.state)) return;
  reader.state = next;
  reader.onState(next);
}

/**
 * Takes one of the open connections that the windows of this browser share.
 * @returns {Promise<(() => void) | null>} gives it back; null when all are taken
 */
async function takeStream(locks) {
  if (!locks) return () => {}; // a browser without Web Locks counts nothing
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

function untilVisible(page, signal) {
  return new Promise((resolve) => {
    if (!page.hidden || signal.aborted) return resolve();
    const look = () => {
      if (page.hidden && !signal.aborted) return;
      page.removeEventListener("visibilitychange", look);
      resolve();
    };
    page.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
  });
}

/** A signal that aborts when the window is hidden, or with `signal`; `end` stops looking. */
function whileVisible(page, signal) {
  const sight = new AbortController();
  const look = () => (page.hidden || signal.aborted) && sight.abort();
  page.addEventListener("visibilitychange", look);
  signal.addEventListener("abort", look);
  look();
  const end = () => {
    page.removeEventListener("visibilitychange", look);
    signal.removeEventListener("abort", look);
  };
  return { signal: sight.signal, end };
}

function rest(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
