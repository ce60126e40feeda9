/**
 * `<run-view>`: a training run, live or recorded. `state` is the folded run. With `data-figure` it shows the curves that
 * matter most, plays a recording until there is a run, and leads to the page of runs.
 *
 * It folds every event at once and draws at most once a frame; a hidden window pauses until it is visible again. It follows
 * the newest run of this runner until the reader chooses another one; with the attribute `data-own` it shows only runs
 * that were trained in this page, as chosen by `showPage`.
 */

import { control } from "../control.js";
import { openedFiles, takeDrops } from "../log-files.js";
import { pageRuns } from "../page-runs.js";
import { listRecordings } from "../log-reader.js";
import { runner } from "../runner.js";
import { Announcements, judgeHealth, makeNotice } from "../notices.js";
import { queryOfRun, remember, runOfAddress, RunWatch } from "../watch.js";
import { ROOT } from "../../page/address.js";
import { whenNearViewport } from "../../page/visibility.js";
import { addControl, buildParts, drawBody, drawControl, drawFigures, drawHead } from "./sections.js";

const LIVE = ["running", "paused", "stalled"];
const HEALTH_MS = 1000;
const READING_MS = 400; // between two drawings of a log that is read: they take the time of its lines

export class RunView extends HTMLElement {
  #watch = new RunWatch();
  #announcements = new Announcements();
  #parts = null;
  #recordings = [];
  #frame = 0;
  #shown = null; // by the head
  #rest = null; // a promise while the rest is drawn
  #pace = { drawnAt: -Infinity, tookMs: 0 };
  #tick = 0;
  #chosenByReader = false;

  /** The run as folded so far: `{lastSeq, series, gaps, duplicates, …}`, see web/run/fold.js. */
  get state() {
    return this.#watch.run;
  }

  set state(run) {
    this.#chosenByReader = true;
    this.#watch.stop();
    Object.assign(this.#watch, { run, source: { kind: "file", name: run.run }, stream: "over" });
    this.#scheduleDraw();
  }

  /** Shows a run of this page. @param {string} id */
  showPage(id) {
    this.#choose({ kind: "page", name: id });
  }

  /** Shows a recording of this site. @param {string | null} name null: the first */
  async showRecording(name) {
    await this.#listRecordings();
    this.#choose({ kind: "recording", name: name ?? this.#recordings[0].name });
  }

  /** Reads the log of the run that is shown. @returns {Promise<{bytes: ArrayBuffer, damaged: number}>} */
  async readBytes(signal) {
    if (this.#watch.source.kind === "none") await this.#listRecordings(); // nobody has come near the view
    return this.#watch.readBytes(signal);
  }

  connectedCallback() {
    if (!this.#parts) this.#begin();
    this.#tick = setInterval(this.#scheduleDraw, HEALTH_MS); // a run without events becomes "stalled"
    document.addEventListener("visibilitychange", this.#scheduleDraw);
  }

  disconnectedCallback() {
    clearInterval(this.#tick);
    document.removeEventListener("visibilitychange", this.#scheduleDraw);
  }

  async #begin() {
    this.#parts = buildParts(this, this.#isFigure);
    this.#watch.addEventListener("change", this.#scheduleDraw);
    pageRuns.addEventListener("change", this.#scheduleDraw);
    this.addEventListener("choose", ({ detail }) => this.#choose(detail));
    this.addEventListener("halt", () => this.#halt());
    this.addEventListener("save", () => this.#save());
    if (!this.#own) this.#follow();
    this.#scheduleDraw();
    const named = this.#own || this.#isFigure ? null : runOfAddress();
    if (named) this.#choose(named);
    await whenNearViewport(this); // only then a recording is fetched
    await this.#listRecordings();
  }

  async #listRecordings() {
    this.#recordings = await listRecordings();
    this.#runnerChanged();
  }

  async #save() {
    const { savePoints } = await import("./points.js");
    await this.#watch.readWhole();
    savePoints([this.state]);
  }

  get #own() {
    return this.hasAttribute("data-own");
  }

  get #isFigure() {
    return this.hasAttribute("data-figure");
  }

  /** Follows the runner, unless the view shows only runs of this page. */
  #follow() {
    runner.addEventListener("change", () => this.#runnerChanged());
    control.addEventListener("change", () => this.#controlChanged());
    if (this.#isFigure) takeDrops(this, ([file]) => this.#choose({ kind: "file", file }));
    runner.start();
    control.start();
  }

  /** Shows what the reader has chosen no longer, as when a large file is read for too long. */
  #halt() {
    this.#watch.showNothing();
    this.#chosenByReader = false;
    this.#runnerChanged();
  }

  /** @param {import("../watch.js").Source | {kind: "file", file: File} | null} chosen null: the newest */
  #choose(chosen) {
    if (!chosen) return this.#halt();
    const source = chosen.file ? { kind: "file", name: openedFiles.add(chosen.file) } : chosen;
    this.#chosenByReader = true;
    this.#pace.drawnAt = -Infinity;
    void this.#watch.show(source);
    if (!this.#own && !this.#isFigure) remember(queryOfRun(source));
  }

  /** Shows the newest run, unless the reader has chosen one; a run that was resumed is followed again. */
  #runnerChanged() {
    const { source, stream } = this.#watch;
    const newest = runner.runs.find((run) => !run.problem);
    const shown = runner.runs.find((run) => run.id === source.name);
    const isBack = stream === "refused" || stream === "missing"; // but listed again
    if (source.kind === "live" && shown && runner.state === "live") {
      if (isBack) void this.#watch.openLive(source.name, shown.bytes);
      else this.#watch.followGrowth(shown.bytes);
    }
    if (!this.#chosenByReader && !this.#own && !this.hidden) this.#followNewest(newest, source);
    this.#scheduleDraw();
  }

  /** Loads the buttons once the server allows control; a server that was restarted may not. */
  async #controlChanged() {
    if (control.allowed) await addControl(this.#parts);
    this.#scheduleDraw();
  }

  #followNewest(newest, source) {
    if (runner.hasMore && source.kind === "live") return; // a newer one may be among those that follow
    if (newest && !(source.kind === "live" && source.name === newest.id)) {
      void this.#watch.openLive(newest.id, newest.bytes);
    } else if (!newest && source.kind === "none" && this.#waitsForNoRun()) {
      if (this.#recordings.length) this.#showFirst(this.#recordings[0].name);
    }
  }

  /** Whether a recording is shown: no runner is there, or a figure's has no run yet. */
  #waitsForNoRun() {
    if (this.#isFigure && ["live", "keyless"].includes(runner.state)) return true;
    return runner.state === "absent" && runner.isSettled;
  }

  /** Shows a recording where there is no run: in a figure, as it grew. */
  #showFirst(name) {
    const plays = this.#isFigure && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    void (plays ? this.#watch.playRecording(name) : this.#watch.showRecording(name));
  }

  #about({ kind, name }) {
    const recording = this.#recordings.find((other) => kind === "recording" && other.name === name);
    return recording?.description ?? "";
  }

  /** Draws in the next frame. Hidden pages get no frames, so they do not draw. */
  #scheduleDraw = () => {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  };

  #draw() {
    this.#frame = 0;
    const started = performance.now();
    const { run, source, stream, writer, problem, progress, caughtUp, wasRead, readPercent, shared } = this.#watch;
    const isLive = source.kind === "live";
    const reading = isLive && !wasRead;
    // Drawing a long log may take longer than a frame: three quarters of the time are left for everything else.
    const rest = Math.max(3 * this.#pace.tookMs, reading || stream === "loading" ? READING_MS : 0);
    if (started - this.#pace.drawnAt < rest) return this.#scheduleDraw();
    this.dispatchEvent(new CustomEvent("shown", { detail: source }));
    const health = isLive && caughtUp ? judgeHealth(run, writer, this.#watch.now) : "running";
    const about = { source, stream, health, runner: runner.state, started: control.started, problem, progress, reading, readPercent, shared };
    const notice = makeNotice({ run, ...about });
    this.#parts.announce(this.#announcements.next(run, notice, started));
    this.dataset.state = notice.title.toLowerCase().replaceAll(" ", "-");
    if (this.#parts.more) this.#parts.more.href = `${ROOT}runs/${queryOfRun(source)}`;
    const goesOn = !run.end && (source.kind === "page" || (isLive && wasRead && LIVE.includes(health)));
    drawHead(this.#parts, { run, notice, about: this.#about(source), goesOn, halts: stream === "loading" && progress !== "" });
    this.#pace = { drawnAt: performance.now(), tookMs: performance.now() - started };
    const recording = source.kind === "recording" && queryOfRun(source);
    this.#shown = { run, kind: reading ? "none" : source.kind, health, stream, runner: runner.state, recording };
    this.#rest ||= this.#drawRest().finally(() => (this.#rest = null));
  }

  /** Draws what stands below the head in tasks of their own: the page answers in between. */
  async #drawRest() {
    for (let view = null; view !== this.#shown; ) {
      view = this.#shown;
      await this.#inTask(() => drawBody(this.#parts, view));
      await this.#inTask(() => drawControl(this.#parts, view, control.allowed));
      await this.#inTask(() => drawFigures(this.#parts, view));
    }
  }

  async #inTask(draw) {
    await new Promise((resolve) => setTimeout(resolve));
    const started = performance.now();
    draw();
    this.#pace = { drawnAt: performance.now(), tookMs: this.#pace.tookMs + performance.now() - started };
  }
}

customElements.define("run-view", RunView);
