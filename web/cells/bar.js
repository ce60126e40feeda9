/** The bar under a cell's source: what can be done (Run, Stop, Reset) and what is going on. */

import { python } from "../python/client.js";
import { textButton } from "../figures/tools.js";

/** @typedef {"" | "waiting" | "running" | "ended"} Stage */

export class CellBar {
  /**
   * @param {{run: () => void, stop: () => void, reset: () => void, id: string, code: string}} cell
   * @param {string} label what a run of the article's code does, as the button says it
   */
  constructor(cell, label) {
    this.label = label;
    this.edited = false;
    /** @type {Stage} */
    this.stage = "";
    this.element = document.createElement("div");
    this.element.className = "cell-bar";
    this.runButton = textButton("cell-run", label, () => cell.run());
    this.stopButton = textButton("cell-stop", "Stop", () => cell.stop());
    this.resetButton = textButton("cell-reset", "Reset", () => cell.reset());
    this.status = document.createElement("span");
    this.status.className = "cell-status";
    this.status.setAttribute("aria-hidden", "true"); // it changes often; what counts is spoken
    this.spoken = document.createElement("span");
    this.spoken.className = "visually-hidden";
    this.spoken.setAttribute("role", "status");
    this.progress = document.createElement("span");
    this.progress.className = "cell-progress";
    this.progress.setAttribute("aria-hidden", "true");
    this.copyButton = textButton("cell-copy", "Copy", () => this.#copy(cell.code));
    this.copyButton.title = "Copy the code of this cell";
    this.link = document.createElement("a");
    Object.assign(this.link, { className: "cell-link", href: `#${cell.id}`, textContent: "#" });
    this.link.setAttribute("aria-label", `Link to the cell ${cell.id}`);
    this.cost = document.createElement("span");
    this.cost.className = "cell-cost";
    this.cost.textContent = document.querySelector("python-status")?.dataset.cost ?? "";
    const tools = [this.runButton, this.stopButton, this.resetButton, this.copyButton, this.link];
    this.element.append(...tools, this.cost, this.status, this.progress);
    python.addEventListener("status", () => this.#sayWaiting());
    this.element.append(this.spoken);
    this.offer("");
    this.show("");
  }

  /** Give the keyboard back to the bar, as Esc in the editor does. */
  focus() {
    this.runButton.focus();
  }

  /** Offer to reset the code, to undo a reset, or neither. @param {"" | "reset" | "undo"} what */
  offer(what) {
    this.resetButton.hidden = what === "";
    this.resetButton.textContent = what === "undo" ? "Undo reset" : "Reset";
    this.runButton.textContent = what === "reset" ? "Run your version" : this.label;
  }

  /**
   * Show how far the run is.
   * @param {Stage} stage
   * @param {import("../python/client.js").Outcome} [outcome] for "ended"
   */
  show(stage, outcome) {
    this.stage = stage;
    if (stage === "waiting") this.spoken.textContent = "";
    const busy = stage === "waiting" || stage === "running";
    if (!busy && this.stopButton === document.activeElement) this.runButton.focus();
    this.stopButton.hidden = !busy;
    this.runButton.setAttribute("aria-disabled", String(busy));
    if (stage === "ended") this.#end(outcome);
    this.#sayWaiting();
  }

  /** Of many cells in a row, those that fail are spoken of, and the last one. */
  #end(outcome) {
    const isLast = !python.current && python.waiting === 0;
    const words = inWords(outcome);
    this.#say(words);
    if (isLast || (!outcome.ok && !outcome.stopped)) this.spoken.textContent = words;
  }

  /** Say what the run does or waits for: Python, a package, or the cell before it. */
  #sayWaiting() {
    const { phase, share, starting, fetching } = python.status;
    const loading = phase === "loading";
    let arriving = false;
    if (this.stage === "running") {
      arriving = Boolean(fetching);
      this.#say(phase === "stopping" ? "Stopping" : fetching ? `Loading ${fetching}` : "Running");
    } else if (this.stage === "waiting") {
      arriving = loading && !starting;
      this.#say(arriving ? "Loading Python" : loading ? "Starting Python" : "Waiting for its turn");
    }
    this.progress.textContent = arriving ? share : "";
    this.cost.hidden = phase !== "idle";
  }

  async #copy(code) {
    try {
      await navigator.clipboard.writeText(code);
      this.#say("Copied");
    } catch {
      this.#say("This browser lets no page copy here: select the code instead");
    }
  }

  #say(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }
}

/** @param {import("../python/client.js").Outcome} outcome */
function inWords({ ok, stopped, cleared, error }) {
  if (ok) return "Done";
  if (stopped) return "Stopped";
  if (cleared) return "Python ended";
  const where = error.line === null ? "" : ` in line ${error.line}`;
  return error.type === "PythonError" ? "Python is not available" : `${error.type}${where}`;
}
