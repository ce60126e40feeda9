/**
 * `<run-view>`: a training run as it happens, or as it was. `state` is the folded run.
 *
 * It folds every event as it comes and draws at most once a frame; a page without frames folds and
 * does not draw, and one that is hidden rests until it is visible again (`../follow.js`). It follows the
 * newest run of this runner until the reader chooses another one; with the attribute `data-own` it shows
 * only runs that were trained in this page, as chosen by `showPage`.
 */

import { control } from "../control.js";
import { readDrop } from "../log-files.js";
import { pageRuns } from "../page-runs.js";
import { listRecordings } from "../replay.js";
import { runner } from "../runner.js";
import { judgeHealth, makeNotice } from "../notices.js";
import { RunWatch } from "../watch.js";
import "./run-chooser.js";
import { nearTheWindow } from "../../page/scheduling.js";
import { addControl, buildParts, drawControl, drawParts } from "./sections.js";
import { Announcements } from "./announcements.js";

const LIVE = ["running", "paused", "stalled"];
const HEALTH_MS = 1000;

export class RunView extends HTMLElement {
  #watch = new RunWatch();
  #beside = new RunWatch();
  #announcements = new Announcements();
  #parts = null;
  #recordings = [];
  #frame = 0;
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
    this.#later();
  }

  /** Shows a run of this page. @param {string} id */
  showPage(id) {
    this.#choose({ kind: "page", name: id });
  }

  connectedCallback() {
    if (!this.#parts) this.#begin();
    this.#tick = setInterval(this.#later, HEALTH_MS); // silence is an event too: it shows as stalled
    document.addEventListener("visibilitychange", this.#later);
  }

  disconnectedCallback() {
    clearInterval(this.#tick);
    document.removeEventListener("visibilitychange", this.#later);
  }

  async #begin() {
    this.#parts = buildParts(this);
    for (const watch of [this.#watch, this.#beside]) watch.addEventListener("change", this.#later);
    pageRuns.addEventListener("change", this.#later);
    this.addEventListener("choose", ({ detail }) => this.#choose(detail));
    this.addEventListener("halt", () => this.#halt());
    this.addEventListener("compare", ({ detail }) => show(this.#beside, detail));
    if (!this.#own) this.#follow();
    this.#later();
    await nearTheWindow(this); // a recording is read when the reader comes near it, not before
    this.#recordings = await listRecordings();
    this.#runnerChanged();
  }

  get #own() {
    return this.hasAttribute("data-own");
  }

  /** What a view does that is not bound to the runs of this page. */
  #follow() {
    runner.addEventListener("change", () => this.#runnerChanged());
    control.addEventListener("change", () => this.#controlChanged());
    this.addEventListener("begun", ({ detail }) => this.#choose({ kind: "live", name: detail }));
    this.#takeDrops();
    runner.start();
    control.start();
  }

  /** Stops reading a file that takes long. */
  #halt() {
    this.#watch.showNothing();
    this.#chosenByReader = false;
    this.#runnerChanged();
  }

  #choose(detail) {
    this.#chosenByReader = true;
    show(this.#watch, detail);
  }

  /** Shows what the reader most likely wants to see, unless they chose something themselves. */
  #runnerChanged() {
    const { source, stream } = this.#watch;
    const newest = runner.runs.find((run) => !run.problem);
    const shown = runner.runs.find((run) => run.id === source.name);
    const resumed = stream === "over" && LIVE.includes(shown?.status);
    const letIn = stream === "refused" || stream === "missing"; // and yet it is in the list now
    if (source.kind === "live" && shown && runner.state === "live" && (resumed || letIn)) {
      this.#watch.showLive(source.name);
    }
    if (!this.#chosenByReader && !this.#own) this.#followNewest(newest, source);
    this.#later();
  }

  /** The server allows control: its buttons are fetched. It may be started again without. */
  async #controlChanged() {
    if (control.allowed) await addControl(this.#parts);
    this.#later();
  }

  #followNewest(newest, source) {
    if (newest && !(source.kind === "live" && source.name === newest.id)) {
      this.#watch.showLive(newest.id);
    } else if (!newest && source.kind === "none" && runner.state === "absent" && runner.isSettled) {
      if (this.#recordings.length) this.#watch.showRecording(this.#recordings[0].name);
    }
  }

  #takeDrops() {
    this.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-drop", true);
    });
    this.addEventListener("dragleave", () => this.toggleAttribute("data-drop", false));
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.toggleAttribute("data-drop", false);
      const dropped = readDrop(event.dataTransfer); // what was dropped is there during the event alone
      void dropped.then((files) => files.length && this.#choose({ kind: "file", files }));
    });
  }

  #about({ kind, name }) {
    const recording = this.#recordings.find((other) => kind === "recording" && other.name === name);
    return recording?.description ?? "";
  }

  /** What a run that is laid beside another one is called at the ends of its lines. */
  #titleOf({ kind, name }) {
    if (kind === "page") return `${[...pageRuns.all.keys()].indexOf(name) + 1} · ${pageRuns.all.get(name).title}`;
    return this.#recordings.find((other) => other.name === name)?.title ?? name;
  }

  /** Asks for one drawing in the next frame. Hidden pages get no frames, so they do not draw. */
  #later = () => {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  };

  #draw() {
    this.#frame = 0;
    const started = performance.now();
    // A long log costs more to draw than a frame lasts: leave three times as long for everything else.
    if (started - this.#pace.drawnAt < 3 * this.#pace.tookMs) return this.#later();
    const { run, source, stream, writer, problem, progress, caughtUp, wasRead, shared } = this.#watch;
    const isLive = source.kind === "live";
    const health = isLive && caughtUp ? judgeHealth(run, writer, this.#watch.now) : "running";
    const reading = isLive && !wasRead;
    const notice = makeNotice({ run, source, stream, health, runner: runner.state, problem, progress, reading, shared });
    this.#parts.announce(this.#announcements.next(run, notice, started));
    this.dataset.state = notice.title.toLowerCase().replaceAll(" ", "-");
    const beside = this.#beside.source.kind === "none" ? null : { run: this.#beside.run, title: this.#titleOf(this.#beside.source) };
    const goesOn = !run.end && (source.kind === "page" || (isLive && wasRead && LIVE.includes(health)));
    drawParts(this.#parts, { run, notice, about: this.#about(source), beside, goesOn, halts: stream === "loading" && progress !== "" });
    this.#parts.chooser.show({
      runs: this.#own ? [] : runner.runs,
      own: [...pageRuns.all.values()],
      recordings: this.#recordings,
      source,
      beside: this.#beside.source,
    });
    const ruled = { run, kind: reading ? "none" : source.kind, health, stream, runner: runner.state };
    drawControl(this.#parts, ruled, control.allowed);
    this.#pace = { drawnAt: performance.now(), tookMs: performance.now() - started };
  }
}

/** Lets a watch show what was chosen. */
function show(watch, { kind, name, file, files = file ? [file] : [] }) {
  if (kind === "live") watch.showLive(name);
  else if (kind === "page") watch.showPage(name);
  else if (kind === "recording") watch.showRecording(name);
  else if (kind === "file" && files.length) watch.showFiles(files);
  else watch.showNothing();
}

customElements.define("run-view", RunView);
