/**
 * `<python-status>` in the top bar: the status of Python, Retry after a failure, Run all, and Restart Python. Until a cell
 * runs, it shows the status of the planner's Python.
 *
 * Texts that change often (40%, 41%, …) are hidden from screen readers, which get each phase once.
 */

import { python } from "../python/python-client.js";
import { planner } from "../python/planner-client.js";
import { make, textButton } from "../figures/tools.js";

const CLEARED = "The variables of all cells are gone; Run all defines them again.";

class PythonStatus extends HTMLElement {
  connectedCallback() {
    if (this.text) return;
    const dot = make("span", { className: "python-dot", "aria-hidden": "true" });
    this.text = make("span", { className: "python-words", "aria-hidden": "true" });
    this.announcement = make("span", { className: "visually-hidden", role: "status" });
    this.reason = make("span", { className: "python-reason" });
    const close = textButton("python-close", "Close", () => this.#close());
    this.note = make("div", { className: "python-note", hidden: true }, this.reason, close);
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.#close());
    this.retry = textButton("python-retry", "Retry", () => python.retry());
    this.all = textButton("python-all", "Run all", () => this.#runOrStopAll());
    this.all.title = "Run every cell of the page, in order";
    this.restart = textButton("python-restart", "", () => this.#restart());
    this.restart.title = "Restart Python: the variables of all cells are lost";
    this.restart.append(make("span", { className: "python-restart-words" }, "Restart Python"));
    this.replaceChildren(this.all, this.retry, this.restart, dot, this.text, this.announcement, this.note);
    for (const each of [python, planner]) each.addEventListener("status", () => this.#show());
    this.#show();
  }

  #show() {
    const { phase, share, starting, fetching } = statusShown();
    const busy = python.status.phase.endsWith("ing"); // loading, running, stopping
    const loading = phase === "loading" && !starting;
    const text = `Python ${phase === "loading" && starting ? "starting" : phase}`;
    this.dataset.phase = phase;
    const arriving = loading ? "Loading" : fetching;
    this.text.textContent = arriving ? `${arriving} ${share}` : text;
    const between = phase === "ready" && python.waiting > 0; // between two cells nothing is announced
    if (!between && this.announcement.textContent !== text) this.announcement.textContent = text;
    this.#note(problemText(python.status));
    this.retry.hidden = phase !== "failed";
    this.restart.hidden = ["idle", "loading", "failed"].includes(python.status.phase);
    this.all.hidden = phase === "failed" || !document.querySelector("live-cell");
    this.all.textContent = busy ? "Stop" : "Run all";
  }

  /** Shows a note until it is closed or another one takes its place; an empty text removes it. */
  #note(text) {
    if (text === this.reason.textContent) return;
    this.reason.textContent = text;
    this.note.hidden = text === "";
  }

  #close() {
    if (this.note.contains(document.activeElement)) this.all.focus();
    this.note.hidden = true;
  }

  #restart() {
    this.#note(""); // one that was closed is shown again
    python.restart();
  }

  #runOrStopAll() {
    if (this.all.textContent === "Stop") python.stopAll();
    else for (const cell of document.querySelectorAll("live-cell")) cell.run();
  }
}

/** Returns why Python ended, and how many messages were refused. */
function problemText({ phase, reason, cleared, refused }) {
  const sentences = [];
  if (phase === "failed") sentences.push(reason);
  if (phase === "stopped" && cleared) sentences.push(reason, CLEARED);
  if (refused > 0) sentences.push(`Refused so far: ${refused} messages of unknown form from Python's worker.`);
  return sentences.filter(Boolean).join(" ");
}

/** Returns the status of the cells' Python, or of the planner's while only that one is used. */
function statusShown() {
  const { phase, progress, starting } = planner.status;
  const isAlone = python.status.phase === "idle" && ["loading", "ready"].includes(phase);
  return isAlone ? { ...python.status, phase, starting, share: `${Math.floor(progress * 100)}%` } : python.status;
}

customElements.define("python-status", PythonStatus);
