/**
 * `<runner-status>`: one quiet line in the top bar about the trainer behind this page. It counts
 * steps and is not read aloud: what has changed is said by `<run-view>`.
 */

import { runner } from "../runner.js";

const WORDS = {
  absent: ["No runner", "This copy of the page has no trainer behind it"],
  keyless: ["No key in this address", "Open the address that the server printed: it carries the key"],
  connecting: ["Runner: connecting", "Asking the server for its runs"],
  live: ["Runner: ready", "The server answers; no run is going on"],
  gone: ["Runner: gone", "The server does not answer; the page keeps asking"],
  refused: ["Runner: not let in", "The server has a new token: open the address it printed"],
};

const VERBS = { running: "training", paused: "paused", stalled: "stalled" };

export class RunnerStatus extends HTMLElement {
  connectedCallback() {
    runner.addEventListener("change", this.#show);
    runner.start();
    this.#show();
  }

  disconnectedCallback() {
    runner.removeEventListener("change", this.#show);
  }

  #show = () => {
    const running = runner.runs.find((run) => run.status in VERBS);
    const isLive = runner.state === "live" && running;
    const [text, title] = isLive ? runningWords(running) : WORDS[runner.state];
    this.dataset.state = isLive ? running.status : runner.state;
    this.title = title;
    if (this.textContent === text) return;
    const before = Object.assign(document.createElement("span"), { className: "bar-word" });
    before.textContent = isLive ? text.slice(0, text.lastIndexOf(" ") + 1) : "";
    this.replaceChildren(before, text.slice(before.textContent.length)); // a narrow bar: "40/200"
  };
}

function runningWords({ status, step, steps, model }) {
  const verb = VERBS[status];
  return [`Runner: ${verb}, ${steps ? `${step}/${steps}` : `step ${step}`}`, `${model || "A model"}, ${verb}`];
}

customElements.define("runner-status", RunnerStatus);
