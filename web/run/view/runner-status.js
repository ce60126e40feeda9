/**
 * `<runner-status>`: one quiet line in the top bar about the trainer behind this page. It counts
 * steps and is not read aloud: `<run-view>` announces what has changed.
 */

import { runner } from "../runner.js";
import { currentToken } from "../token.js";

const SETUP_MS = 5000;

const WORDS = {
  absent: ["No runner", "This copy of the page is not connected to a runner"],
  keyless: ["No token in this address", "This address has no token: open the one that the server printed"],
  connecting: ["Runner: connecting", "Asking the server for its runs"],
  live: ["Runner: ready", "The server answers; no run is in progress"],
  gone: ["Runner: gone", "The server does not answer; the page keeps asking"],
  refused: ["Runner: access denied", "The server has a new token: open the address it printed"],
};

const LONG = / in this address$/;
const VERBS = { running: "training", paused: "paused", stalled: "stalled" };

export class RunnerStatus extends HTMLElement {
  #setup = null; // how far `build.py serve` is with installing PyTorch
  #isAsking = false;

  connectedCallback() {
    runner.addEventListener("change", this.#show);
    runner.addEventListener("change", this.#askForSetup);
    runner.start();
    this.#show();
  }

  disconnectedCallback() {
    runner.removeEventListener("change", this.#show);
    runner.removeEventListener("change", this.#askForSetup);
  }

  /** Asks once when the server is there, and again for as long as it is installing. */
  #askForSetup = async () => {
    if (runner.state !== "live" || this.#isAsking) return;
    this.#isAsking = true;
    do {
      this.#setup = await installing();
      this.#show();
      if (this.#setup) await new Promise((resume) => setTimeout(resume, SETUP_MS));
    } while (this.#setup && this.isConnected);
  };

  #idleWords() {
    if (runner.state !== "live" || !this.#setup) return WORDS[runner.state];
    const { seconds, doing } = this.#setup;
    const title = `The page is complete. \`unfrozen train\` waits for PyTorch (${doing || "starting"})`;
    return [`Runner: installing PyTorch, ${Math.round(seconds)} s`, title];
  }

  #show = () => {
    const running = runner.runs.find((run) => run.status in VERBS);
    const isLive = runner.state === "live" && running;
    const [text, title] = isLive ? runningWords(running) : this.#idleWords();
    this.dataset.state = isLive ? running.status : runner.state;
    this.title = title;
    if (this.textContent === text) return;
    const [before, short, after] = isLive
      ? [text.slice(0, text.lastIndexOf(" ") + 1), text.slice(text.lastIndexOf(" ") + 1), ""]
      : ["", text.replace(LONG, ""), LONG.exec(text)?.[0] ?? ""];
    this.replaceChildren(wideOnly(before), short, wideOnly(after)); // a narrow bar: "40/200"
  };
}

/** @returns {Promise<{seconds: number, doing: string} | null>} null too where nobody answers */
async function installing() {
  try {
    const headers = { Authorization: `Bearer ${currentToken()}` };
    const answer = await fetch("/api/setup", { headers, cache: "no-store" });
    return answer.ok ? (await answer.json()).installing : null;
  } catch {
    return null; // the server has gone, which `runner` finds out
  }
}

function wideOnly(text) {
  return Object.assign(document.createElement("span"), { className: "bar-word", textContent: text });
}

function runningWords({ status, step, steps, model }) {
  const verb = VERBS[status];
  return [`Runner: ${verb}, ${steps ? `${step}/${steps}` : `step ${step}`}`, `${model || "A model"}, ${verb}`];
}

customElements.define("runner-status", RunnerStatus);
