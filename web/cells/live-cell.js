/**
 * `<live-cell id data-hash data-run-label>`: a cell of the article that the reader can edit and run.
 *
 * It upgrades the printed markup in place. Property `code`; methods `run()` → a promise of
 * `{ok, stdout, value, error, …}` that settles when everything is drawn, `stop()`, `reset()`.
 * `value` is the repr of the last expression or null, `error` the traceback's text or null, with
 * `errorType` and `errorLine` beside it.
 */

import { RUN_LOG } from "../python/messages.js";
import { python } from "../python/python-client.js";
import { whenApproached } from "../page/visibility.js";
import { make, saveFile } from "../figures/tools.js";
import { CellBar } from "./bar.js";
import { EDITS_NAME, editsFile, editsOfRemovedCells, sharedVersion, StoredEdit, versionsNote } from "./edits.js";
import { CellOutput } from "./output.js";
import { CellSource } from "./source.js";

const SAVE_AFTER_MS = 300;
const OTHER_TAB =
  "You changed this cell in another tab: − marks lines of this one, + lines of the other. Both versions are kept until you choose.";
const BEFORE_EDIT = "From before your edit: run the cell to update it";

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
    this.before = null; // what Reset replaced
    this.bakedNote = this.querySelector(".cell-note")?.textContent ?? "";
    this.article = null; // the baked output, taken when the first run replaces it
    this.source.addEventListener("change", () => this.#handleChange());
    this.source.addEventListener("run", () => this.run());
    this.source.addEventListener("save", () => this.saveEdits());
    this.source.addEventListener("leave", () => this.bar.focus());
    this.source.addEventListener("lost", () => this.#showEditorFailure());
    this.addEventListener("cell-jump", (event) => jump(event.detail));
    this.edit = new StoredEdit(this.id, this.dataset.hash, this.source.original);
    addEventListener("pagehide", () => this.#save());
    addEventListener("storage", ({ key, newValue }) => key === this.edit.key && this.#takeStored(newValue));
    this.#restoreEdit();
    void this.#offerShared();
    void whenApproached(this).then(() => python.prepare());
  }

  get code() {
    return this.source.code;
  }

  set code(code) {
    this.source.code = code;
  }

  /**
   * Runs the code. Called again before that run has ended, it returns the same promise.
   * @param {{own?: boolean}} [how] own: among the reader's edited cells, although it is as printed
   */
  run({ own = false } = {}) {
    const { code } = this;
    if (this.runs?.code === code) return this.runs.promise;
    const previous = this.runs?.promise;
    const handle = python.run({
      cell: this.id,
      source: code,
      edited: own || code !== this.source.original,
      guess: this.guess?.given,
      files: { [RUN_LOG]: (signal) => this.#readRunLog(signal) },
      onStart: () => this.#begin(),
      onStdout: (text) => this.output.write(text),
      onTable: (json) => this.output.publish("table", json),
      onPlots: (json) => this.output.publish("plots", json),
    });
    const promise = Promise.all([handle.done, previous]).then(([outcome]) => this.#end(outcome));
    const mine = { code, handle, promise: promise.finally(() => this.#clearRun(mine)) };
    this.runs = mine;
    this.bar.show("waiting");
    return mine.promise;
  }

  /** Returns the log of the run that the page shows. */
  async #readRunLog(signal) {
    const { bytes, damaged } = await document.querySelector("run-view:not([data-own])").readBytes(signal);
    if (damaged === 0) return bytes;
    const lines = damaged === 1 ? "One damaged line of the run is" : `${damaged} damaged lines of the run are`;
    this.output.showMessage(`${lines} left out of ${RUN_LOG}.`);
    return bytes;
  }

  /** Stops the run, also a queued one. It ends within half a second, whatever the code does. */
  stop() {
    this.runs?.handle.stop();
  }

  /** Restores the article's code and output; called again at once, it undoes that. */
  reset() {
    if (this.before) return this.#undoReset();
    if (!this.bar.edited) return undefined;
    this.stop();
    const before = { code: this.code, shown: this.output.snapshot() };
    this.source.code = this.source.original;
    this.before = before;
    if (this.article) this.output.restore(this.article);
    else this.output.note(this.bakedNote);
    this.output.showMessage("");
    this.guess?.showComparison("");
    this.bar.offer("undo");
    return undefined;
  }

  /** Opens the editor on a line. @param {number} line 1-based */
  showLine(line) {
    return this.source.edit({ line });
  }

  #showEditorFailure() {
    const text = "The editor could not be loaded. Check the connection; the cell runs without it.";
    this.output.showMessage(text, "Try again", () => {
      this.output.showMessage("");
      this.source.edit();
    });
  }

  #newOutput() {
    return this.appendChild(make("div", { className: "cell-output" }));
  }

  #begin() {
    this.article ??= this.#bakedOutput();
    this.output.begin();
    this.started = true;
    this.bar.show("running");
  }

  /** Returns the printed output, with its own note. */
  #bakedOutput() {
    const shown = this.output.snapshot();
    shown.texts.set(".cell-note", this.bakedNote);
    return shown;
  }

  async #end(outcome) {
    const { stdout } = this.started ? this.output : { stdout: "" };
    this.bar.show("ended", outcome);
    if (this.started) await this.#drawEnd(outcome);
    this.started = false;
    this.source.mark(outcome.error?.line ?? 0);
    this.#explain(outcome);
    this.guess?.showComparison(outcome.guessed);
    const { ok, value, error, stopped, cleared, seconds } = outcome;
    const stopText = stopped ? "KeyboardInterrupt: the run was stopped" : null;
    return {
      ok, stdout, value, error: error?.traceback ?? stopText,
      errorType: error?.type ?? null, errorLine: error?.line ?? null, stopped, cleared, seconds,
    };
  }

  /** Draws the end of a run. A widget that fails to draw must not leave the run without an end. */
  async #drawEnd(outcome) {
    const shown = outcome.stopped ? { ...outcome, error: null } : outcome;
    try {
      await this.output.finish(shown, noteText(outcome));
    } catch (error) {
      console.error(error);
      this.output.showMessage(`The result could not be drawn (${error.message}).`);
    }
  }

  /** Explains an unusual end, with what can be done. */
  #explain({ ok, edited, stopped, cleared, reason, error }) {
    if (cleared) {
      const text = `${reason || "Stopped."} Python was restarted, so the variables of all cells are gone.`;
      this.#offerCellsAbove(text, "Run the cells above again");
    } else if (edited && error?.type === "NameError" && python.isDivided) {
      const text = "Cells as printed run apart from those you edit: their variables may be missing here.";
      this.#offerCellsAbove(text, "Run the cells above among yours");
    } else if (!ok && !stopped && python.status.phase === "failed") {
      this.output.showMessage(error.message, "Try again", () => this.run());
    }
  }

  #offerCellsAbove(text, label) {
    const above = cellsAbove(this);
    if (above.length === 0) this.output.showMessage(text);
    else this.output.showMessage(text, label, () => above.forEach((cell) => cell.run({ own: true })));
  }

  #clearRun(mine) {
    if (this.runs === mine) this.runs = null;
  }

  #handleChange() {
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
    if (!this.bar.edited) this.edit.remove();
    else if (!this.edit.save(this.code)) this.#warnOfStorage();
    this.#offerOther();
  }

  /** Takes note of what another tab has stored for this cell. */
  #takeStored(text) {
    this.edit.take(text, this.code);
    this.#offerOther();
    if (this.edit.other !== null) this.bar.announcement.textContent = OTHER_TAB;
  }

  /** Shows the version of another tab beside this one, until the reader has chosen. */
  #offerOther() {
    this.otherNote?.remove();
    const { other } = this.edit;
    this.otherNote = null;
    if (other === null) return;
    const choose = (code) => {
      this.edit.choose();
      this.code = code;
      if (this.bar.edited) this.edit.save(code);
    };
    const actions = [["Keep this one", () => choose(this.code)], ["Take the other", () => choose(other)]];
    this.otherNote = this.#place(versionsNote({ text: OTHER_TAB, before: this.code, after: other, actions }));
  }

  /** Says, once, that the edit lasts as long as the page. */
  #warnOfStorage() {
    if (this.isWarned) return;
    this.isWarned = true;
    const text = "This browser stores no edits: they last as long as this page.";
    this.output.showMessage(text, "Save edits", () => this.saveEdits());
    this.bar.announcement.textContent = text;
  }

  /** Saves every edited cell of the page as one file. */
  saveEdits() {
    const cells = [...document.querySelectorAll("live-cell")];
    const edited = cells.filter(({ bar }) => bar?.edited).map(({ id, code }) => ({ id, code }));
    const all = [...edited, ...editsOfRemovedCells(cells.map(({ id }) => id))];
    if (all.length === 0) return this.bar.say("No cell is edited");
    const where = `${location.origin}${location.pathname}`;
    saveFile(EDITS_NAME, new Blob([editsFile(all, where)], { type: "text/x-python" }));
    return this.bar.say(all.length === 1 ? "1 edit saved" : `${all.length} edits saved`);
  }

  #undoReset() {
    const { code, shown } = this.before;
    this.source.code = code;
    this.output.restore(shown);
  }

  /** Shows the reader's edit of an earlier visit; a button restores the article's version. */
  #restoreEdit() {
    const saved = this.edit.load();
    if (!saved || (saved.code === this.code && this.edit.other === null)) return;
    this.code = saved.code;
    clearTimeout(this.saving); // it is stored already, with the hash of the article that it changes
    this.saving = 0;
    this.#offerOther();
    if (saved.hash === this.dataset.hash) return;
    this.#place(
      versionsNote({
        text: "The article's version of this cell has changed since you edited yours, which is here.",
        before: this.source.original,
        after: saved.code,
        actions: [
          ["Keep mine", () => this.edit.save(this.code)],
          ["Take the new version", () => this.reset()],
        ],
      }),
    );
  }

  /** Offers the version that a link brings. */
  async #offerShared() {
    const shared = await sharedVersion();
    if (shared?.id !== this.id || (!shared.problem && shared.code === this.code)) return;
    if (shared.problem) return void this.output.showMessage(shared.problem);
    const [before, after] = [this.code, shared.code];
    const text = "A link brings another version of this cell. It was neither run nor saved.";
    const actions = [["Take it", () => (this.code = after)], ["Dismiss", () => {}]];
    this.#place(versionsNote({ text, before, after, actions })).scrollIntoView({ block: "center" });
  }

  /** Puts a note above the source and its fold. */
  #place(note) {
    (this.source.fold ?? this.source.pre).before(note);
    return note;
  }
}

function noteText({ ok, edited, stopped, seconds }) {
  if (stopped) return "Stopped before it was done";
  if (!ok) return "Ended with an error";
  const time = seconds < 0.1 ? seconds.toFixed(3) : seconds.toFixed(2);
  return `${edited ? "Your version, computed" : "Computed"} in your browser in ${time} s`;
}

/** Returns the live cells before `cell` in the page. */
function cellsAbove(cell) {
  const cells = [...document.querySelectorAll("live-cell")];
  return cells.slice(0, cells.indexOf(cell));
}

function jump({ cell, line }) {
  const target = document.getElementById(cell);
  if (target instanceof LiveCell) target.showLine(line);
}

/**
 * What the reader expects of a cell, typed before the run and shown beside its result. While they type, the printed result
 * is covered (see cells.css); a run needs no guess.
 */
class CellGuess {
  /** Returns the guess of a cell, or null where its info string has none. @param {HTMLElement} cell */
  static of(cell) {
    const line = cell.querySelector(".cell-guess");
    return line && new CellGuess(cell, line);
  }

  /** The comparison will stand below the output. @param {LiveCell} cell @param {HTMLElement} line */
  constructor(cell, line) {
    this.key = line.dataset.guess;
    this.input = line.querySelector("input");
    this.comparison = make("p", { className: "cell-guessed", role: "status" });
    cell.output.box.after(this.comparison);
    this.input.addEventListener("keydown", ({ key }) => key === "Enter" && cell.run());
  }

  /** What was typed; undefined where nothing was. */
  get given() {
    const text = this.input.value.trim();
    return text ? { key: this.key, text } : undefined;
  }

  /** Shows Python's comparison of guess and result; an empty text removes it. */
  showComparison(text) {
    this.comparison.textContent = text;
  }
}

customElements.define("live-cell", LiveCell);
