/**
 * One run on the screen, wherever it comes from: this runner, this page, a recording, a file. All
 * fill the same state through the same fold; a listener hears "change" after every batch.
 */

import { emptyRun, fold } from "./fold.js";
import { EXPECTED, convertLog, isOtherFormat } from "./log-files.js";
import { eventsOf, pageRuns } from "./page-runs.js";
import { followRun } from "./follow.js";
import { openRecording, replay } from "./replay.js";

const BACK_MS = 4000;
const FOLLOWING = ["connecting", "live", "gone", "back"];

/** @typedef {{kind: "none" | "live" | "page" | "recording" | "file", name: string}} Source */

export class RunWatch extends EventTarget {
  run = emptyRun();
  /** @type {Source} */
  source = { kind: "none", name: "" };
  /** @type {import("./event-stream.js").StreamState | "loading" | "unreadable"} */
  stream = "connecting";
  /** @type {"yes" | "no" | "unknown"} */
  writer = "unknown";
  /** Whether the log was read to its end: before that the view gives no verdict on the run. */
  caughtUp = false;
  /** The same, but of the first time: a tab that was hidden only catches up. */
  wasRead = false;
  /** Whether other windows hold the open connections, so that this one reads every few seconds. */
  shared = false;
  /** Why a file or a recording could not be read, and what can be. */
  problem = "";
  /** How far a file is that takes its time. */
  progress = "";
  #readAt = 0;
  #stop = new AbortController();

  /** Follows a run of this page's runner; one that is followed already is not read anew. */
  showLive(id) {
    const { kind, name } = this.source;
    if (kind === "live" && name === id && FOLLOWING.includes(this.stream)) return;
    const signal = this.#begin({ kind: "live", name: id }, "connecting");
    const guarded = (take) => (...values) => signal.aborted || take(...values);
    followRun({
      run: id,
      signal,
      onEvents: guarded((events, skipped) => this.#take(events, skipped)),
      onState: guarded((state) => this.#setStream(state, signal)),
      onWriter: guarded((writer) => this.#setWriter(writer)),
      onRestart: guarded(() => Object.assign(this, { run: emptyRun(), caughtUp: false, wasRead: false })),
      onCaughtUp: guarded((caughtUp) => this.#setCaughtUp(caughtUp)),
      onShared: guarded((shared) => this.#setShared(shared)),
    });
  }

  /** Shows a run of this page, and goes on with it while it is trained. */
  showPage(id) {
    const signal = this.#begin({ kind: "page", name: id }, "live");
    this.caughtUp = this.wasRead = true;
    const hear = ({ detail }) => detail.id === id && this.#take(detail.events, 0);
    this.#take(eventsOf(pageRuns.all.get(id).lines), 0);
    pageRuns.addEventListener("events", hear, { signal });
  }

  /** Replays a recording of this site. */
  showRecording(name) {
    return this.#replay({ kind: "recording", name }, () => openRecording(name));
  }

  /**
   * Replays a log the reader chose or dropped, or makes one of the files of another tool.
   * @param {File[]} files more than one are event files of one run
   */
  showFiles(files) {
    const [{ name }, ...more] = files;
    const source = { kind: "file", name: more.length ? `${name} and ${more.length} more` : name };
    return this.#replay(source, async (signal) => {
      if (!(await isOtherFormat(files[0]))) return files[0];
      return convertLog(files, (text) => this.#setProgress(text, signal), signal);
    });
  }

  /** Shows nothing until something is chosen. */
  showNothing() {
    this.#begin({ kind: "none", name: "" }, "connecting");
  }

  /** Stops reading; what was read stays on the screen. */
  stop() {
    this.#stop.abort();
  }

  async #replay(source, open) {
    const signal = this.#begin(source, "loading");
    try {
      const take = (events, skipped) => this.#take(events, skipped);
      await replay(await open(signal), take, signal);
      if (!signal.aborted) this.#finishReplay();
    } catch (error) {
      if (!signal.aborted) this.#fail(error.message);
    }
  }

  #finishReplay() {
    if (this.run.events === 0) this.#fail(`${this.source.name} holds no event of a run. ${EXPECTED}`);
    else this.#setStream("over");
  }

  #fail(problem) {
    this.problem = problem;
    this.#setStream("unreadable");
  }

  #begin(source, stream) {
    this.#stop.abort();
    this.#stop = new AbortController();
    Object.assign(this, { run: emptyRun(), source, stream, writer: "unknown", problem: "", progress: "" });
    Object.assign(this, { caughtUp: false, wasRead: false, shared: false });
    this.#changed();
    return this.#stop.signal;
  }

  #take(events, skipped) {
    for (const event of events) fold(this.run, event);
    this.run.skippedLines += skipped;
    this.#changed();
  }

  /** Unix seconds until which the log is known: a window that reads now and then cannot detect silence. */
  get now() {
    return (this.shared ? this.#readAt : Date.now()) / 1000;
  }

  #setCaughtUp(caughtUp) {
    this.caughtUp = caughtUp;
    if (caughtUp) this.#readAt = Date.now();
    this.wasRead ||= caughtUp;
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
