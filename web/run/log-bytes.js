/**
 * The log of the run that a view shows, for Python in a cell: as far as it is written, without damaged lines. The page reads
 * it: a cell has neither a network nor the runner's token.
 */

import { SITE } from "../page/site.js";
import { followLines } from "./event-stream.js";
import { parseEvent, readLines } from "./log-reader.js";
import { currentToken } from "./runner.js";

const MOST_BYTES = 50_000_000; // Python in a page has 2 GB for all that it makes of them
const NO_RUN = "No run is shown in this page: choose one in the view of runs, or drop a log there.";

/**
 * @param {import("./watch.js").Source} source
 * @param {() => Promise<Blob | Response>} open opens it, unless it is live
 * @param {AbortSignal} signal
 * @returns {Promise<{bytes: ArrayBuffer, damaged: number}>} rejects with a sentence for the reader
 */
export async function readLogBytes({ kind, name }, open, signal) {
  if (kind === "none") throw new Error(NO_RUN);
  const log = new CheckedLog(name);
  if (kind === "live") await followOnce(name, log, signal);
  else {
    const opened = await open();
    log.refuseSize(opened.size ?? 0);
    if (await readLines(opened, (lines) => log.take(lines), signal)) log.damaged += 1;
  }
  signal.throwIfAborted();
  return log.finish();
}

/** Lines of a log that are events, up to a size. */
class CheckedLog {
  #lines = [];
  #size = 0;
  damaged = 0;

  /** @param {string} name of the run */
  constructor(name) {
    this.name = name;
  }

  /** Takes lines; throws a RangeError when they are too many. */
  take(lines) {
    for (const line of lines) {
      const event = parseEvent(line);
      if (event === null || "refused" in event) this.damaged += 1;
      else this.#lines.push(`${line}\n`);
      this.#size += line.length + 1;
    }
    this.refuseSize(this.#size);
  }

  /** Throws a RangeError for a log of so many bytes, if these are too many. */
  refuseSize(bytes) {
    if (bytes <= MOST_BYTES) return;
    const most = `${MOST_BYTES / 1e6} MB`;
    throw new RangeError(`The log of ${this.name} has more than the ${most} that a cell can read. Read its file on your machine.`);
  }

  /** @returns {Promise<{bytes: ArrayBuffer, damaged: number}>} */
  async finish() {
    if (this.#lines.length === 0) throw new Error(`The log of ${this.name} has no line that can be read.`);
    return { bytes: await new Blob(this.#lines).arrayBuffer(), damaged: this.damaged };
  }
}

/** Reads all that the log of a live run holds now. */
async function followOnce(run, log, signal) {
  const end = new AbortController();
  signal.addEventListener("abort", () => end.abort(), { once: true });
  let isWhole = false;
  let problem = null;
  const take = (lines) => {
    try {
      log.take(lines.map(({ data }) => data));
      log.damaged += lines.reduce((sum, { skipped }) => sum + skipped, 0);
    } catch (error) {
      problem = error;
      end.abort();
    }
  };
  const done = () => {
    isWhole = true;
    end.abort();
  };
  await followLines({
    url: new URL(`api/runs/${encodeURIComponent(run)}/events`, SITE),
    token: currentToken(),
    signal: end.signal,
    once: true,
    onLines: take,
    onState: (state) => state === "over" && done(),
    onRestart: () => {},
    onWriter: () => {},
    onCaughtUp: done,
  });
  if (problem) throw problem;
  if (!isWhole && !signal.aborted) throw new Error(`The runner did not send the log of ${run}: is it still there?`);
}
