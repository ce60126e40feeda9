/**
 * The run that a view shows, wherever it comes from: this runner, this page, a recording, a file. All fill the same state
 * through the same fold, and "change" is dispatched after every batch.
 */

import { followRun } from "./event-stream.js";
import { emptyRun, fold } from "./fold.js";
import { readLogBytes } from "./log-bytes.js";
import { convertLog, EXPECTED, isOtherFormat } from "./log-files.js";
import { fetchRecording, readLog } from "./log-reader.js";
import { eventsOf, pageRuns } from "./page-runs.js";

const BACK_MS = 4000;
const PLAY_MS = 8000; // of a recording, however long its run took
const BEHIND_BYTES = 4_000_000; // unread: more than a page folds between two frames
const FOLLOWING = ["connecting", "live", "gone", "back"];

/** @typedef {{kind: "none" | "live" | "page" | "recording" | "file", name: string}} Source */

export class RunWatch extends EventTarget {
  run = emptyRun();
  /** @type {Source} */
  source = { kind: "none", name: "" };
  /** @type {import("./event-stream.js").StreamState | "loading" | "playing" | "unreadable"} */
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
  #opened = null; // promise of the file that is shown, converted
  #stop = new AbortController();

  /** Follows a run of this page's runner; one that is followed already is not read again. */
  showLive(id) {
    const { kind, name } = this.source;
    if (kind === "live" && name === id && FOLLOWING.includes(this.stream)) return;
    const signal = this.#start({ kind: "live", name: id }, "connecting");
    const guarded = (take) => (...values) => signal.aborted || take(...values);
    followRun({
      run: id,
      signal,
      onEvents: guarded((events, skipped) => this.#fold(events, skipped)),
      onState: guarded((state) => this.#setStream(state, signal)),
      onWriter: guarded((writer) => this.#setWriter(writer)),
      onRestart: guarded(() => Object.assign(this, { run: emptyRun(), caughtUp: false, wasRead: false })),
      onCaughtUp: guarded((caughtUp) => this.#setCaughtUp(caughtUp)),
      onSize: guarded((unread, read) => this.#setUnread(unread, read)),
      onShared: guarded((shared) => this.#setShared(shared)),
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
    return this.#read({ kind: "recording", name }, () => fetchRecording(name));
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

  /**
   * Shows a log that the reader chose or dropped; files of another tool are converted.
   * @param {File[]} files more than one are event files of one run
   */
  showFiles(files) {
    const [{ name }, ...more] = files;
    const source = { kind: "file", name: more.length ? `${name} and ${more.length} more` : name };
    return this.#read(source, async (signal) => {
      if (!(await isOtherFormat(files[0]))) return files[0];
      return convertLog(files, (text) => this.#setProgress(text, signal), signal);
    });
  }

  /** Shows nothing until something is chosen. */
  showNothing() {
    this.#start({ kind: "none", name: "" }, "connecting");
  }

  /** @returns {Promise<{bytes: ArrayBuffer, damaged: number}>} the log that is shown, see log-bytes.js */
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
      await readLog(await this.#opened, (events, skipped) => this.#fold(events, skipped), signal);
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
    this.#opened = null;
    Object.assign(this, { run: emptyRun(), source, stream, writer: "unknown", problem: "", progress: "" });
    Object.assign(this, { caughtUp: false, wasRead: false, shared: false, readPercent: null });
    this.#changed();
    return this.#stop.signal;
  }

  #fold(events, skipped) {
    for (const event of events) fold(this.run, event);
    this.run.skippedLines += skipped;
    this.#changed();
  }

  /** Unix seconds until which the log is known: a window that polls cannot tell that a run is stalled. */
  get now() {
    return (this.shared ? this.#readAt : Date.now()) / 1000;
  }

  #setCaughtUp(caughtUp) {
    this.caughtUp = caughtUp;
    if (caughtUp) this.#readAt = Date.now();
    this.wasRead ||= caughtUp;
    this.#changed();
  }

  #setUnread(unread, read) {
    this.readPercent = unread > BEHIND_BYTES ? Math.floor((100 * read) / (unread + read)) : null;
    this.#changed();
  }

  #setStream(state, signal) {
    this.stream = state;
    if (state === "over") this.caughtUp = this.wasRead = true;
    this.#changed();
    if (state !== "back") return;
    setTimeout(() => {
      if (this.stream === "back" && !signal.aborted) this.#setStream("live", signal);
    }, BACK_MS);
  }

  #setProgress(text, signal) {
    if (signal.aborted) return;
    this.progress = text;
    this.#changed();
  }

  #setShared(shared) {
    this.shared = shared;
    this.#changed();
  }

  #setWriter(writer) {
    this.writer = writer;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
