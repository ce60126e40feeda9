/**
 * The run that a view shows, wherever it comes from: this runner, this page, a recording, a file. All fill the same state
 * through the same fold, and "change" is dispatched after every batch.
 *
 * Python in a cell gets its log, as far as it is written and without
 * damaged lines, from the page: a cell has neither a network nor the runner's token.
 */

import { SITE } from "../page/site.js";
import { followLines, followRun } from "./event-stream.js";
import { emptyRun, fold } from "./fold.js";
import { convertLog, EXPECTED, isOtherFormat, openedFiles, readDataReport } from "./log-files.js";
import { fetchRecording, parseEvent, readLines, readLog } from "./log-reader.js";
import { eventsOf, pageRuns } from "./page-runs.js";
import { currentToken, runner } from "./runner.js";

const BACK_MS = 4000;
const PLAY_MS = 8000; // of a recording, however long its run took
const BEHIND_BYTES = 4_000_000; // unread: more than a page folds between two frames
const OUTLINED_BYTES = 4_000_000; // more than is read at once
const FOLLOWING = ["connecting", "live", "gone", "back"];
/** What leads to a run in the address of the page of runs. */
const KINDS = { run: "live", recording: "recording" };
const MOST_BYTES = 50_000_000; // Python in a page has 2 GB for all that it makes of them
const NO_RUN = "No run is shown in this page: choose one in the view of runs, or drop a log there.";

/** @typedef {{kind: "none" | "live" | "page" | "recording" | "file", name: string}} Source */

export class RunWatch extends EventTarget {
  run = emptyRun();
  /** @type {Source} */
  source = { kind: "none", name: "" };
  /** @type {import("./event-stream.js").StreamState | "outlined" | "loading" | "playing" | "unreadable"} */
  stream = "connecting";
  /** @type {"yes" | "no" | "unknown"} */
  writer = "unknown";
  /** Whether the log has been read to its end: before that the health of the run is not known. */
  caughtUp = false;
  /** The same for the first time: a window that was hidden only has to catch up. */
  wasRead = false;
  /** Whether other windows hold the open connections, so that this one polls every few seconds. */
  shared = false;
  /** How much of the log has been read, in percent, while it grows faster than this page reads it. */
  readPercent = null;
  /** Why a file or a recording could not be read, and which ones can. */
  problem = "";
  /** How much of a large file has been read. */
  progress = "";
  #readAt = 0;
  #offset = 0; // bytes of the log that were read
  #grown = { name: "", bytes: 0 }; // to which it was read again
  #whole = null; // what is folded while `run` is an outline
  #opened = null; // promise of the file that is shown, converted
  #stop = new AbortController();

  /** Shows a run, wherever it comes from. @param {Source} source */
  show({ kind, name }) {
    if (kind === "live") return this.openLive(name, runner.runs.find(({ id }) => id === name)?.bytes ?? 0);
    if (kind === "page" && pageRuns.all.has(name)) return this.showPage(name);
    if (kind === "recording") return this.showRecording(name);
    if (kind === "file") return this.showFile(name);
    return this.showNothing();
  }

  /** Shows the outline of a run of this page's runner, if it has one: a long log is seen before it is read. */
  async outlineLive(id) {
    const signal = this.#start({ kind: "live", name: id }, "outlined");
    const { status, text } = await runner.get(`api/runs/${encodeURIComponent(id)}/outline`);
    if (status !== 200 || signal.aborted) return;
    this.#fold(eventsOf(text.split("\n").filter(Boolean)), 0);
    this.run.gaps = 0; // not of the log
  }

  /** Follows a run of this page's runner, of `bytes` now; a long log is outlined before it is read. */
  async openLive(id, bytes) {
    if (bytes > OUTLINED_BYTES) {
      if (this.#isFollowing(id)) return;
      await this.outlineLive(id);
      if (this.source.kind !== "live" || this.source.name !== id) return; // another one was chosen meanwhile
    }
    this.showLive(id);
  }

  /** Reads a log of `bytes` again that has grown since its run was over: it was resumed, or its model blended. */
  followGrowth(bytes) {
    const { kind, name } = this.source;
    const known = Math.max(this.#offset, this.#grown.name === name ? this.#grown.bytes : 0);
    if (kind !== "live" || this.stream !== "over" || bytes <= known) return;
    this.#grown = { name, bytes }; // a damaged end is read once
    void this.openLive(name, bytes);
  }

  /** Resolves once the whole log is read, or cannot be: what is saved is no outline. */
  async readWhole() {
    const isOutline = () => this.stream === "outlined" || (this.#whole && !["refused", "missing"].includes(this.stream));
    while (isOutline()) await new Promise((changed) => this.addEventListener("change", changed, { once: true }));
  }

  #isFollowing(id) {
    const { kind, name } = this.source;
    return kind === "live" && name === id && FOLLOWING.includes(this.stream);
  }

  /** Follows a run of this page's runner; one that is followed already is not read again. */
  showLive(id) {
    if (this.#isFollowing(id)) return;
    const outlined = this.stream === "outlined" && this.source.name === id && this.run.events > 0 ? this.run : null;
    const signal = this.#start({ kind: "live", name: id }, "connecting");
    if (outlined) Object.assign(this, { run: outlined }).#whole = emptyRun();
    const guarded = (take) => (...values) => signal.aborted || take(...values);
    followRun({
      run: id,
      signal,
      onEvents: guarded((events, skipped, offset) => {
        this.#offset = offset;
        this.#fold(events, skipped);
      }),
      onState: guarded((state) => this.#setStream(state, signal)),
      onWriter: guarded((writer) => this.#set({ writer })),
      onRestart: guarded(() => Object.assign(this, { run: emptyRun(), caughtUp: false, wasRead: false }).#whole = null),
      onCaughtUp: guarded((caughtUp) => this.#setCaughtUp(caughtUp)),
      onSize: guarded((unread, read) => this.#set({ readPercent: unread > BEHIND_BYTES ? Math.floor((100 * read) / (unread + read)) : null })),
      onShared: guarded((shared) => this.#set({ shared })),
    });
  }

  /** Shows a run of this page, and follows it while it is trained. */
  showPage(id) {
    const signal = this.#start({ kind: "page", name: id }, "live");
    this.caughtUp = this.wasRead = true;
    const onEvents = ({ detail }) => detail.id === id && this.#fold(detail.events, 0);
    this.#fold(eventsOf(pageRuns.all.get(id).lines), 0);
    pageRuns.addEventListener("events", onEvents, { signal });
  }

  /** Shows a recording of this site. */
  showRecording(name) {
    const file = name.endsWith(".jsonl") ? name : `${name}.jsonl`;
    return this.#read({ kind: "recording", name: file }, () => fetchRecording(file));
  }

  /** Plays a recording of this site: its steps arrive one after the other. */
  async playRecording(name) {
    const signal = this.#start({ kind: "recording", name }, "playing");
    const events = [];
    try {
      await readLog(await fetchRecording(name), (batch) => events.push(...batch), signal);
    } catch (error) {
      if (!signal.aborted) this.#fail(error.message);
      return;
    }
    this.caughtUp = this.wasRead = true;
    const begun = performance.now();
    for (let played = 0; played < events.length; ) {
      const now = await new Promise((draw) => requestAnimationFrame(draw)); // a hidden page waits
      if (signal.aborted) return;
      const due = Math.ceil((events.length * Math.max(0, now - begun)) / PLAY_MS);
      this.#fold(events.slice(played, due), 0);
      played = Math.max(played, due);
    }
    this.#finishReading();
  }

  /** Shows a log that the reader opened; one of another tool is converted. */
  showFile(name) {
    const file = openedFiles.all.get(name);
    return this.#read({ kind: "file", name }, async (signal) => {
      const report = await readDataReport(file);
      if (report) return this.#fold([report], 0);
      if (!(await isOtherFormat(file))) return file;
      return convertLog(file, (progress) => signal.aborted || this.#set({ progress }), signal);
    });
  }

  /** Shows nothing until something is chosen. */
  showNothing() {
    this.#start({ kind: "none", name: "" }, "connecting");
  }

  /** @returns {Promise<{bytes: ArrayBuffer, damaged: number}>} the log that is shown, see `readLogBytes` */
  readBytes(signal) {
    const { kind, name } = this.source;
    const open = async () => {
      if (kind === "page") return pageRuns.file(name);
      if (kind === "recording") return fetchRecording(name);
      return (await this.#opened) ?? new Blob();
    };
    return readLogBytes(this.source, open, signal);
  }

  /** Stops reading; what was read stays on the screen. */
  stop() {
    this.#stop.abort();
  }

  async #read(source, open) {
    const signal = this.#start(source, "loading");
    try {
      this.#opened = open(signal);
      const opened = await this.#opened;
      if (opened) await readLog(opened, (events, skipped) => this.#fold(events, skipped), signal);
      if (!signal.aborted) this.#finishReading();
    } catch (error) {
      if (!signal.aborted) this.#fail(error.message);
    }
  }

  #finishReading() {
    if (this.run.events === 0) this.#fail(`${this.source.name} holds no event of a run. ${EXPECTED}`);
    else this.#setStream("over");
  }

  #fail(problem) {
    this.problem = problem;
    this.#setStream("unreadable");
  }

  #start(source, stream) {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#opened = this.#whole = null;
    const nothing = { caughtUp: false, wasRead: false, shared: false, readPercent: null };
    this.#set({ run: emptyRun(), source, stream, writer: "unknown", problem: "", progress: "", ...nothing });
    return this.#stop.signal;
  }

  #fold(events, skipped) {
    const run = this.#whole ?? this.run;
    for (const event of events) fold(run, event);
    if (this.source.kind === "live" && run.events > 0) run.run = this.source.name; // its folder's: a copied log has that of another
    run.skippedLines += skipped;
    if (run === this.run) this.#set({});
  }

  /** Unix seconds until which the log is known: a window that polls cannot tell that a run is stalled. */
  get now() {
    return (this.shared ? this.#readAt : Date.now()) / 1000;
  }

  #setCaughtUp(caughtUp) {
    this.caughtUp = caughtUp;
    if (caughtUp) this.#readAt = Date.now();
    this.wasRead ||= caughtUp;
    if (caughtUp && this.#whole) [this.run, this.#whole] = [this.#whole, null];
    this.#set({});
  }

  #setStream(state, signal) {
    this.#set({ stream: state, ...(state === "over" && { caughtUp: true, wasRead: true }) });
    if (state !== "back") return;
    setTimeout(() => {
      if (this.stream === "back" && !signal.aborted) this.#setStream("live", signal);
    }, BACK_MS);
  }

  #set(changes) {
    Object.assign(this, changes);
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * The run in the address of the page of runs: `runs/?run=NAME` of this machine, `runs/?recording=FILE` of this site. The
 * token stays in the fragment, which browsers never send.
 */

/** @returns {Source | null} the run that the address names */
export function runOfAddress() {
  const query = new URLSearchParams(location.search);
  const key = Object.keys(KINDS).find((each) => query.get(each));
  return key ? { kind: KINDS[key], name: query.get(key) } : null;
}

/** What leads to a comparison in the address. */
export const COMPARED = "compare";

/** @returns {string[]} the names of the runs that the address compares */
export function comparedOfAddress() {
  const names = new URLSearchParams(location.search).get(COMPARED)?.split(",") ?? [];
  return [...new Set(names.filter(Boolean))];
}

/** @returns {string} the query that leads to a run; empty for one that only this page has */
export function queryOfRun({ kind, name }) {
  const key = Object.keys(KINDS).find((each) => KINDS[each] === kind);
  return key ? `?${key}=${encodeURIComponent(name)}` : "";
}

let search = globalThis.location?.search ?? ""; // of what is shown

/** Puts what is shown into the address. @param {string} query @param {boolean} [isNew] whether *Back* leads to what was there */
export function remember(query, isNew = true) {
  const address = new URL(location.href);
  address.search = query;
  search = address.search;
  if (search === location.search) return;
  history[isNew ? "pushState" : "replaceState"](history.state, "", address);
}

/** Calls `arrive` whenever *Back* or *Forward* leads to something else of this page. */
export function onReturn(arrive) {
  addEventListener("popstate", () => {
    if (location.search === search) return; // to another place in the page
    search = location.search;
    arrive();
  });
}

/**
 * @param {Source} source
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
    token: await currentToken(),
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
