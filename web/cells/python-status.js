/**
 * `<python-status>` in the top bar: what Python is doing, a way out when it failed, Run all, and
 * Restart Python once there is one. While no cell has asked for Python, it says what the planner's
 * own is doing.
 *
 * The words that change often (40%, 41%, …) are for eyes only; a screen reader hears each phase
 * once.
 */

import { python } from "../python/client.js";
import { planner } from "../python/planner.js";
import { textButton } from "../figures/tools.js";

const GONE = "The names that cells had defined are gone; Run all defines them again.";

class PythonStatus extends HTMLElement {
  connectedCallback() {
    if (this.words) return;
    const dot = element("span", "python-dot");
    this.words = element("span", "python-words");
    this.spoken = element("span", "visually-hidden");
    for (const silent of [dot, this.words]) silent.setAttribute("aria-hidden", "true");
    this.spoken.setAttribute("role", "status");
    this.reason = element("span", "python-reason");
    this.retry = textButton("python-retry", "Retry", () => python.retry());
    this.all = textButton("python-all", "Run all", () => this.#runOrStopAll());
    this.all.title = "Run every cell of the page, in order";
    this.restart = textButton("python-restart", "", () => python.restart());
    this.restart.title = "Start Python anew: the names that cells have defined are gone then";
    this.restart.append(element("span", "python-restart-words", "Restart Python"));
    this.replaceChildren(this.all, this.retry, this.restart, dot, this.words, this.spoken, this.reason);
    for (const each of [python, planner]) each.addEventListener("status", () => this.#show());
    this.#show();
  }

  #show() {
    const { phase, share, starting, fetching } = statusShown();
    const busy = python.status.phase.endsWith("ing"); // loading, running, stopping
    const loading = phase === "loading" && !starting;
    const words = `Python ${phase === "loading" && starting ? "starting" : phase}`;
    this.dataset.phase = phase;
    const arriving = loading ? "Loading" : fetching;
    this.words.textContent = arriving ? `${arriving} ${share}` : words;
    const between = phase === "ready" && python.waiting > 0; // of two cells: nothing new
    if (!between && this.spoken.textContent !== words) this.spoken.textContent = words;
    this.reason.textContent = trouble(python.status);
    this.reason.hidden = this.reason.textContent === "";
    this.retry.hidden = phase !== "failed";
    this.restart.hidden = ["idle", "loading", "failed"].includes(python.status.phase);
    this.all.hidden = phase === "failed";
    this.all.textContent = busy ? "Stop" : "Run all";
  }

  #runOrStopAll() {
    if (this.all.textContent === "Stop") python.stopAll();
    else for (const cell of document.querySelectorAll("live-cell")) cell.run();
  }
}

/** What the reader has to know besides the phase: why Python ended, and what was not believed. */
function trouble({ phase, reason, cleared, refused }) {
  const said = [];
  if (phase === "failed") said.push(reason);
  if (phase === "stopped" && cleared) said.push(reason, GONE);
  if (refused > 0) said.push(`Refused so far: ${refused} messages of unknown form from Python's worker.`);
  return said.filter(Boolean).join(" ");
}

/** The status of the reader's Python, or of the planner's while only that one is at work. */
function statusShown() {
  const { phase, progress, starting } = planner.status;
  const isAlone = python.status.phase === "idle" && ["loading", "ready"].includes(phase);
  return isAlone ? { ...python.status, phase, starting, share: `${Math.floor(progress * 100)}%` } : python.status;
}

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

customElements.define("python-status", PythonStatus);
