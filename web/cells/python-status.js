/**
 * `<python-status>` in the top bar: what Python is doing, a way out when it failed, and Run all.
 *
 * The words that change often (40%, 41%, …) are for eyes only; a screen reader hears each phase
 * once.
 */

import { python } from "../python/client.js";
import { textButton } from "../figures/text-button.js";

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
    this.replaceChildren(this.all, this.retry, dot, this.words, this.spoken, this.reason);
    python.addEventListener("status", () => this.#show());
    this.#show();
  }

  #show() {
    const { phase, share, starting, reason, fetching } = python.status;
    const busy = phase.endsWith("ing"); // loading, running, stopping
    const loading = phase === "loading" && !starting;
    const words = `Python ${phase === "loading" && starting ? "starting" : phase}`;
    this.dataset.phase = phase;
    const arriving = loading ? "Loading" : fetching;
    this.words.textContent = arriving ? `${arriving} ${share}` : words;
    const between = phase === "ready" && python.queue.length > 0; // of two cells: nothing new
    if (!between && this.spoken.textContent !== words) this.spoken.textContent = words;
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

customElements.define("python-status", PythonStatus);
