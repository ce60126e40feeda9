/**
 * `<runner-status>`: one line in the top bar about the runner that serves this page. It counts steps and is not announced
 * to screen readers: `<run-view>` announces changes.
 */

import { make } from "../../figures/tools.js";
import { runner } from "../runner.js";

const SETUP_MS = 5000;

const TEXTS = {
  absent: ["No runner", "This copy of the page is not connected to a runner"],
  keyless: ["No token in this address", "This address has no token: open the one that the server printed"],
  connecting: ["Runner: connecting", "Asking the server for its runs"],
  live: ["Runner: ready", "The server answers; no run is in progress"],
  gone: ["Runner: gone", "The server does not answer; the page keeps asking"],
  refused: ["Runner: access denied", "The server has a new token: open the address it printed"],
};

const VERBS = { running: "training", paused: "paused", stalled: "stalled" };

export class RunnerStatus extends HTMLElement {
  #setup = null; // progress of `build.py serve` installing PyTorch
  #isPolling = false;

  connectedCallback() {
    runner.addEventListener("change", this.#show);
    runner.addEventListener("change", this.#pollSetup);
    runner.start();
    this.#show();
  }

  disconnectedCallback() {
    runner.removeEventListener("change", this.#show);
    runner.removeEventListener("change", this.#pollSetup);
  }

  /** Asks once the server answers, and again while it installs PyTorch. */
  #pollSetup = async () => {
    if (runner.state !== "live" || this.#isPolling) return;
    this.#isPolling = true;
    do {
      this.#setup = await fetchSetup();
      this.#show();
      if (this.#setup) await new Promise((resume) => setTimeout(resume, SETUP_MS));
    } while (this.#setup && this.isConnected);
  };

  #idleText() {
    if (runner.state !== "live" || !this.#setup) return TEXTS[runner.state];
    const { seconds, doing } = this.#setup;
    const title = `The page is complete. \`unfrozen train\` waits for PyTorch (${doing || "starting"})`;
    return [`Runner: installing PyTorch, ${Math.round(seconds)} s`, title];
  }

  #show = () => {
    const running = runner.runs.find((run) => run.status in VERBS);
    const isLive = runner.state === "live" && running;
    const [text, title] = isLive ? runningText(running) : this.#idleText();
    this.dataset.state = isLive ? running.status : runner.state;
    this.title = title;
    if (this.textContent === text) return;
    const cut = isLive ? text.lastIndexOf(" ") + 1 : 0;
    this.replaceChildren(make("span", { className: "bar-word" }, text.slice(0, cut)), text.slice(cut)); // narrow: "40/200"
  };
}

/** @returns {Promise<{seconds: number, doing: string} | null>} null where nothing is installed, or nobody answers */
async function fetchSetup() {
  const { status, text } = await runner.get("api/setup");
  return status === 200 ? JSON.parse(text).installing : null;
}

function runningText({ status, step, steps, model }) {
  const verb = VERBS[status];
  return [`Runner: ${verb}, ${steps ? `${step}/${steps}` : `step ${step}`}`, `${model || "A model"}, ${verb}`];
}

customElements.define("runner-status", RunnerStatus);
