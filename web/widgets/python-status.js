/**
 * `<python-status>` in the top bar: what Python is doing, a way out when it failed, and Run all.
 *
 * The words that change often (40%, 41%, …) are for eyes only; a screen reader hears each phase
 * once.
 */

import { python } from "../python/client.js";

const WORDS = {
  idle: "Python idle",
  loading: "Python loading",
  ready: "Python ready",
  running: "Python running",
  stopping: "Python stopping",
  stopped: "Python stopped",
  failed: "Python failed",
};

class PythonStatus extends HTMLElement {
  connectedCallback() {
    if (this.words) return;
    const dot = element("span", "python-dot");
    this.words = element("span", "python-words");
    this.spoken = element("span", "visually-hidden");
    for (const silent of [dot, this.words]) silent.setAttribute("aria-hidden", "true");
    this.spoken.setAttribute("role", "status");
    this.reason = element("span", "python-reason");
    this.retry = action("python-retry", "Retry", () => python.retry());
    this.all = action("python-all", "Run all", () => this.#runOrStopAll());
    this.all.title = "Run every cell of the page, in order";
    this.replaceChildren(this.all, this.retry, dot, this.words, this.spoken, this.reason);
    python.addEventListener("status", () => this.#show());
    this.#show();
  }

  #show() {
    const { phase, progress, starting, reason } = python.status;
    const busy = phase === "running" || phase === "stopping" || phase === "loading";
    const words = phase === "loading" && starting ? "Python starting" : WORDS[phase];
    const loading = phase === "loading" && !starting;
    this.dataset.phase = phase;
    this.words.textContent = loading ? `Loading ${Math.floor(progress * 100)}%` : words;
    if (this.spoken.textContent !== words) this.spoken.textContent = words;
    this.reason.textContent = phase === "failed" || phase === "stopped" ? reason : "";
    this.reason.hidden = this.reason.textContent === "";
    this.retry.hidden = phase !== "failed";
    this.all.hidden = phase === "failed";
    this.all.textContent = busy ? "Stop" : "Run all";
  }

  #runOrStopAll() {
    if (this.all.textContent === "Stop") python.stopAll();
    else for (const cell of document.querySelectorAll("live-cell")) cell.run();
  }
}

function element(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

function action(name, text, onClick) {
  const button = element("button", name);
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", onClick);
  return button;
}

customElements.define("python-status", PythonStatus);
