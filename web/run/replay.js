/**
 * Recordings of this site, and the reading of a whole log (a recording, or a file from another machine)
 * through the same fold as a live run. The main thread is given back between batches, so that the page
 * stays responsive.
 */

import { LineCutter, parseEvent } from "./log-lines.js";

const BATCH_LINES = 2000;

/**
 * @param {Blob | Response} source something with a `stream()` or a `body`
 * @param {(events: object[], skipped: number) => void} onEvents every batch, in order
 * @param {AbortSignal} signal stops between two batches
 */
export async function replay(source, onEvents, signal) {
  const body = source instanceof Blob ? source.stream() : source.body;
  const chunks = body.pipeThrough(new TextDecoderStream()).getReader();
  const cutter = new LineCutter();
  for (;;) {
    const { done, value } = await chunks.read();
    if (signal.aborted) return void chunks.cancel();
    if (done) break;
    const lines = cutter.push(value);
    for (let from = 0; from < lines.length; from += BATCH_LINES) {
      takeLines(lines.slice(from, from + BATCH_LINES), onEvents);
      await breathe();
      if (signal.aborted) return void chunks.cancel();
    }
  }
  if (cutter.isInside) onEvents([], 1); // a last line without its newline was never finished
}

function takeLines(lines, onEvents) {
  const parsed = lines.filter((line) => line !== "").map(parseEvent);
  const events = parsed.filter((event) => event !== null);
  onEvents(events, parsed.length - events.length);
}

/** Lets input and drawing run. A message is not slowed down the way nested timers are. */
function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (port1.close(), resolve());
    port2.postMessage(null);
  });
}

/** @typedef {{name: string, title: string, description: string}} Recording */

/** @returns {Promise<Recording[]>} empty when the list cannot be read */
export async function listRecordings() {
  try {
    const answer = await fetch("recordings/index.json");
    const listed = answer.ok ? await answer.json() : [];
    return listed.map(({ file, title, description }) => ({ name: file, title, description }));
  } catch {
    return []; // offline: the chooser says that there are none
  }
}

/** The recording as a stream of bytes. Throws when it cannot be fetched. */
export async function openRecording(name) {
  const answer = await fetch(`recordings/${encodeURIComponent(name)}`);
  if (!answer.ok) throw new Error(`the recording ${name} cannot be read (${answer.status})`);
  return answer;
}
