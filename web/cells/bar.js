/** The bar below a cell's source: its buttons (Run, Stop, Reset, Share, Save edits, Copy) and its status. */

import { python } from "../python/python-client.js";
import { textForHost } from "../python/runtime-files.js";
import { make, textButton } from "../figures/tools.js";
import { linkTo } from "./edits.js";

/** @typedef {"" | "waiting" | "running" | "ended"} Stage */

export class CellBar {
  /**
   * @param {{run: () => void, stop: () => void, reset: () => void, saveEdits: () => void, id: string, code: string}} cell
   * @param {string} label of the button that runs the article's code
   */
  constructor(cell, label) {
    this.label = label;
    this.edited = false;
    /** @type {Stage} */
    this.stage = "";
    this.runButton = textButton("cell-run", label, () => cell.run());
    this.stopButton = textButton("cell-stop", "Stop", () => cell.stop());
    this.resetButton = textButton("cell-reset", "Reset", () => cell.reset());
    this.shareButton = textButton("cell-share", "Share", () => this.#share(cell));
    this.shareButton.title = "Copy a link that brings your version of this cell";
    this.saveButton = textButton("cell-save", "Save edits", () => cell.saveEdits());
    this.saveButton.title = "Save every cell that you have edited as one file of Python";
    const silent = { "aria-hidden": "true" }; // it changes often; screen readers get `announcement`
    this.status = make("span", { className: "cell-status faint", ...silent });
    this.announcement = make("span", { className: "visually-hidden", role: "status" });
    this.progress = make("span", { className: "cell-progress faint numeric", ...silent });
    this.copyButton = textButton("cell-copy", "Copy", () => this.#copy(cell.code));
    this.copyButton.title = "Copy the code of this cell";
    this.link = make("a", { className: "cell-link faint", href: `#${cell.id}`, "aria-label": `Link to the cell ${cell.id}` });
    const { costCompressed, costPlain } = document.querySelector("python-status")?.dataset ?? {};
    this.cost = make("span", { className: "cell-cost faint" }, textForHost({ compressed: costCompressed, plain: costPlain }));
    const buttons = [this.runButton, this.stopButton, this.resetButton, this.shareButton, this.saveButton, this.copyButton];
    const texts = [this.link, this.cost, this.status, this.progress, this.announcement];
    this.element = make("div", { className: "cell-bar" }, ...buttons, ...texts);
    python.addEventListener("status", () => this.#showWaiting());
    this.offer("");
    this.show("");
  }

  /** Moves the focus to the bar, as Esc in the editor does. */
  focus() {
    this.runButton.focus();
  }

  /** Offers to reset the code, to undo a reset, or neither. @param {"" | "reset" | "undo"} what */
  offer(what) {
    this.resetButton.hidden = what === "";
    this.shareButton.hidden = this.saveButton.hidden = what !== "reset";
    this.resetButton.textContent = what === "undo" ? "Undo reset" : "Reset";
    this.runButton.textContent = what === "reset" ? "Run your version" : this.label;
  }

  /**
   * Shows the stage of the run.
   * @param {Stage} stage
   * @param {import("../python/python-client.js").Outcome} [outcome] for "ended"
   */
  show(stage, outcome) {
    this.stage = stage;
    if (stage === "waiting") this.announcement.textContent = "";
    const busy = stage === "waiting" || stage === "running";
    if (!busy && this.stopButton === document.activeElement) this.runButton.focus();
    this.stopButton.hidden = !busy;
    this.runButton.setAttribute("aria-disabled", String(busy));
    if (stage === "ended") this.#end(outcome);
    this.#showWaiting();
  }

  /** Shows the end of a run; of several cells, failures and the last one are announced. */
  #end(outcome) {
    const isLast = !python.current && python.waiting === 0;
    const text = outcomeText(outcome);
    this.#setStatus(text);
    if (isLast || (!outcome.ok && !outcome.stopped)) this.announcement.textContent = text;
  }

  /** Shows what the run does or waits for: Python, a package, or another cell. */
  #showWaiting() {
    const { phase, share, starting, fetching } = python.status;
    const loading = phase === "loading";
    let arriving = false;
    if (this.stage === "running") {
      arriving = Boolean(fetching);
      this.#setStatus(phase === "stopping" ? "Stopping" : fetching ? `Loading ${fetching}` : "Running");
    } else if (this.stage === "waiting") {
      arriving = loading && !starting;
      this.#setStatus(arriving ? "Loading Python" : loading ? "Starting Python" : "Waiting for its turn");
    }
    this.progress.textContent = arriving ? share : "";
    this.cost.hidden = phase !== "idle";
  }

  /** Shows and announces a sentence. @param {string} text */
  say(text) {
    this.#setStatus(text);
    this.announcement.textContent = text;
  }

  async #copy(code) {
    try {
      await navigator.clipboard.writeText(code);
      this.#setStatus("Copied");
    } catch {
      this.#setStatus("The browser refused the clipboard: select the code instead");
    }
  }

  async #share({ id, code }) {
    try {
      await navigator.clipboard.writeText(await linkTo(id, code));
      this.#setStatus("Link copied");
    } catch {
      this.#setStatus("The browser refused the clipboard: send the code instead");
    }
  }

  #setStatus(text) {
    if (this.status.textContent === text) return;
    this.status.textContent = text;
    this.status.title = text; // it is cut where there is little room
  }
}

/** @param {import("../python/python-client.js").Outcome} outcome */
function outcomeText({ ok, stopped, cleared, error }) {
  if (ok) return "Done";
  if (stopped) return "Stopped";
  if (cleared) return "Python ended";
  const where = error.line === null ? "" : ` in line ${error.line}`;
  return error.type === "PythonError" ? "Python is not available" : `${error.type}${where}`;
}
