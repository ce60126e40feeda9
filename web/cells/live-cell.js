/**
 * `<live-cell id data-hash data-run-label>`: a cell of the article the reader can edit and run.
 *
 * It upgrades the baked markup in place. Property `code`; methods `run()` → a promise of
 * `{ok, stdout, value, error, …}` that settles when everything is drawn, `stop()`, `reset()`.
 * `value` is the repr of the last expression or null, `error` the traceback's text or null, with
 * `errorType` and `errorLine` beside it.
 */

import { python } from "../python/client.js";
import { CellBar } from "./bar.js";
import { CellOutput } from "./output.js";
import { CellSource } from "./source.js";

const SAVE_AFTER_MS = 300;
const BEFORE_EDIT = "From before your edit: run the cell to renew it";

export class LiveCell extends HTMLElement {
  connectedCallback() {
    if (this.source) return;
    this.source = new CellSource(this.querySelector(".cell-source"), this.id);
    const box = this.querySelector(".cell-output") ?? this.#newOutput();
    this.output = new CellOutput(box, () => python.refuse());
    this.bar = new CellBar(this, this.dataset.runLabel || "Run");
    this.source.pre.after(this.bar.element);
    this.guess = CellGuess.of(this);
    this.runs = null; // {code, handle, promise} of the run that waits or runs
    this.before = null; // what Reset took away
    this.bakedNote = this.querySelector(".cell-note")?.textContent ?? "";
    this.article = null; // the baked output, taken when the first run replaces it
    this.source.addEventListener("change", () => this.#changed());
    this.source.addEventListener("run", () => this.run());
    this.source.addEventListener("leave", () => this.bar.focus());
    this.source.addEventListener("lost", () => this.#noEditor());
    this.addEventListener("cell-jump", (event) => jump(event.detail));
    addEventListener("pagehide", () => this.#save());
    this.#restoreEdit();
  }

  get code() {
    return this.source.code;
  }

  set code(code) {
    this.source.code = code;
  }

  /** Run the code as it stands. Called again before that run has ended, it returns the same promise. */
  run() {
    const { code } = this;
    if (this.runs?.code === code) return this.runs.promise;
    const previous = this.runs?.promise;
    const handle = python.run({
      cell: this.id,
      source: code,
      guess: this.guess?.given,
      onStart: () => this.#began(),
      onStdout: (text) => this.output.write(text),
      onTable: (json) => this.output.publish("table", json),
      onPlots: (json) => this.output.publish("plots", json),
    });
    const promise = Promise.all([handle.done, previous]).then(([outcome]) => this.#ended(outcome));
    const mine = { code, handle, promise: promise.finally(() => this.#forgetRun(mine)) };
    this.runs = mine;
    this.bar.show("waiting");
    return mine.promise;
  }

  /** Stop the run that waits or runs. It ends within half a second, whatever the code does. */
  stop() {
    this.runs?.handle.stop();
  }

  /** Go back to the article's code and output; called again at once, undo that. */
  reset() {
    if (this.before) return this.#undoReset();
    if (!this.bar.edited) return undefined;
    this.stop();
    const before = { code: this.code, shown: this.output.snapshot() };
    this.source.code = this.source.original;
    this.before = before;
    if (this.article) this.output.restore(this.article);
    else this.output.note(this.bakedNote);
    this.output.say("");
    this.guess?.say("");
    this.bar.offer("undo");
    return undefined;
  }

  /** Open the editor on a line. @param {number} line 1-based */
  showLine(line) {
    return this.source.edit({ line });
  }

  #noEditor() {
    const text = "The editor could not be loaded. Check the connection; the cell runs without it.";
    this.output.say(text, "Try again", () => {
      this.output.say("");
      this.source.edit();
    });
  }

  #newOutput() {
    const box = document.createElement("div");
    box.className = "cell-output";
    return this.appendChild(box);
  }

  #began() {
    this.article ??= this.#bakedOutput();
    this.output.begin();
    this.started = true;
    this.bar.show("running");
  }

  /** What the page was built with; its note may by now say that the code was edited. */
  #bakedOutput() {
    const shown = this.output.snapshot();
    shown.texts.set(".cell-note", this.bakedNote);
    return shown;
  }

  async #ended(outcome) {
    const { stdout } = this.started ? this.output : { stdout: "" };
    this.bar.show("ended", outcome);
    if (this.started) await this.#drawEnd(outcome);
    this.started = false;
    this.source.mark(outcome.error?.line ?? 0);
    this.#explain(outcome);
    this.guess?.say(outcome.guessed);
    const { ok, value, error, stopped, cleared, seconds } = outcome;
    const words = stopped ? "KeyboardInterrupt: the run was stopped" : null;
    return {
      ok, stdout, value, error: error?.traceback ?? words,
      errorType: error?.type ?? null, errorLine: error?.line ?? null, stopped, cleared, seconds,
    };
  }

  /** Draw the last of a run. A widget that fails to draw must not leave the run without an end. */
  async #drawEnd(outcome) {
    const shown = outcome.stopped ? { ...outcome, error: null } : outcome;
    try {
      await this.output.finish(shown, noteOn(outcome));
    } catch (error) {
      console.error(error);
      this.output.say(`The result could not be drawn (${error.message}).`);
    }
  }

  /** Say what an unusual end means and what can be done. */
  #explain({ ok, stopped, cleared, reason, error }) {
    if (cleared) {
      const text = `${reason || "Stopped."} Python was restarted, so the names that cells had defined are gone.`;
      const above = cellsAbove(this);
      if (above.length === 0) this.output.say(text);
      else this.output.say(text, "Run the cells above again", () => above.forEach((cell) => cell.run()));
    } else if (!ok && !stopped && python.status.phase === "failed") {
      this.output.say(error.message, "Try again", () => this.run());
    }
  }

  #forgetRun(mine) {
    if (this.runs === mine) this.runs = null;
  }

  #changed() {
    const edited = this.code !== this.source.original;
    this.before = null;
    this.bar.offer(edited ? "reset" : "");
    this.bar.edited = edited;
    if (!this.runs) this.output.note(edited ? BEFORE_EDIT : this.bakedNote);
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.#save(), SAVE_AFTER_MS);
  }

  #save() {
    if (!this.saving) return;
    clearTimeout(this.saving);
    this.saving = 0;
    if (this.bar.edited) remember(this.id, this.dataset.hash, this.code);
    else forget(this.id);
  }

  #undoReset() {
    const { code, shown } = this.before;
    this.source.code = code;
    this.output.restore(shown);
  }

  /** Show what the reader wrote on an earlier visit; the article's version is one button away. */
  #restoreEdit() {
    const kept = recall(this.id);
    if (!kept || kept.code === this.code) return;
    this.code = kept.code;
    if (kept.hash === this.dataset.hash) return;
    const text = "The article's version of this cell has changed since you edited yours.";
    this.output.say(text, "Take the new version", () => this.reset());
  }
}

function noteOn({ ok, stopped, seconds, changed }) {
  if (stopped) return "Stopped before it was done";
  if (!ok) return "Ended with an error";
  const computed = `Computed in your browser in ${seconds < 0.1 ? seconds.toFixed(3) : seconds.toFixed(2)} s`;
  if (!changed) return computed;
  return `${computed}. Cells have replaced ${changed}, so this may not be the article's own result`;
}

/** The live cells that stand before `cell` in the page. */
function cellsAbove(cell) {
  const cells = [...document.querySelectorAll("live-cell")];
  return cells.slice(0, cells.indexOf(cell));
}

function jump({ cell, line }) {
  const target = document.getElementById(cell);
  if (target instanceof LiveCell) target.showLine(line);
}

/**
 * What the reader expects of a cell, typed before the run and shown beside its result. While they
 * type, a result they have not asked for is covered (see cells.css); nothing waits for a guess.
 */
class CellGuess {
  /** The guess of a cell, or null where its info string asks for none. @param {HTMLElement} cell */
  static of(cell) {
    const line = cell.querySelector(":scope > .cell-guess");
    return line && new CellGuess(cell, line);
  }

  constructor(cell, line) {
    this.key = line.dataset.guess;
    this.input = line.querySelector("input");
    this.said = Object.assign(document.createElement("p"), { className: "cell-guessed" });
    this.said.setAttribute("role", "status");
    cell.append(this.said);
    this.input.addEventListener("keydown", ({ key }) => key === "Enter" && cell.run());
  }

  /** What was typed, to go with a run; undefined where nothing was. */
  get given() {
    const text = this.input.value.trim();
    return text ? { key: this.key, text } : undefined;
  }

  /** Python's comparison of guess and result; an empty text takes it away. */
  say(text) {
    this.said.textContent = text;
  }
}

// The reader's own version of a cell, stored with the hash of the article's source it was made from: a
// changed article can be distinguished from a changed cell. Without storage the edit lasts as long as the page.
const key = (id) => `unfrozen-cell:${id}`;

/** @returns {{hash: string, code: string} | null} what was saved for a cell */
function recall(id) {
  try {
    const kept = JSON.parse(localStorage.getItem(key(id)));
    return typeof kept?.code === "string" ? kept : null;
  } catch {
    return null; // storage forbidden, or not ours
  }
}

/** Keep `code`, an edit of the article's source with `hash`. */
function remember(id, hash, code) {
  try {
    localStorage.setItem(key(id), JSON.stringify({ hash, code }));
  } catch {
    // Storage is full or forbidden: the edit lives as long as the page.
  }
}

/** Drop what was saved for a cell. */
function forget(id) {
  try {
    localStorage.removeItem(key(id));
  } catch {
    // Nothing could have been saved.
  }
}

customElements.define("live-cell", LiveCell);
