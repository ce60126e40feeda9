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
 * no matter of the connection; `stall.js` judges it by the trainer's own promise.
 */

import { parseEvent } from "./line.js";
import { SseParser } from "./sse.js";

export const FIRST_DELAY_MS = 250;
export const LAST_DELAY_MS = 4000;
export const SILENCE_MS = 12_000; // the server sends a comment every 5 s

/** @typedef {"connecting" | "live" | "gone" | "back" | "over" | "refused" | "missing"} StreamState */

const FINAL = { 204: "over", 401: "refused", 403: "refused", 404: "missing" };

/**
 * Follows until the run is over, the server refuses, or `signal` aborts. Never rejects.
 * @param {object} source
 * @param {string} source.url address of the run's events, without a query
 * @param {string} source.token bearer token
 * @param {AbortSignal} source.signal
 * @param {(events: object[], skipped: number) => void} source.onEvents every batch, in order
 * @param {(state: StreamState) => void} source.onState
 * @param {() => void} source.onRestart the log is not the one we read: begin again from nothing
 * @param {(alive: "yes" | "no" | "unknown") => void} source.onWriter whether the trainer lives
 * @param {typeof fetch} [source.fetch]
 */
export async function followRun(source) {
  const reader = { ...source, offset: 0, over: false, fetch: source.fetch ?? fetch.bind(globalThis) };
  let failures = 0;
  source.onState("connecting");
  while (!source.signal.aborted) {
    const outcome = await connect(reader, failures);
    if (source.signal.aborted) return;
    if (outcome.final) return source.onState(outcome.final);
    failures = outcome.opened ? 1 : failures + 1;
    source.onState("gone");
    await wait(Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), LAST_DELAY_MS), source.signal);
  }
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
  for (;;) {
    const { done, value } = await chunks.read();
    if (done) return;
    watchdog.feed();
    takeFrames(reader, parser.push(value));
  }
}

function takeFrames(reader, frames) {
  const events = [];
  let skipped = 0;
  for (const frame of frames) {
    if ("comment" in frame) {
      const [word, value] = frame.comment.split(" ");
      if (word === "skipped") skipped += Number(value);
      if (word === "writer") reader.onWriter(value);
      continue;
    }
    reader.offset = frame.id;
    const event = parseEvent(frame.data);
    if (event) events.push(event);
    else skipped += 1;
  }
  if (events.length) reader.over = events.at(-1).kind === "run.end";
  if (events.length || skipped) reader.onEvents(events, skipped);
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
