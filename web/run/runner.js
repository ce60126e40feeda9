/**
 * The runner this page belongs to: is it there, and which runs has it?
 *
 *   absent      the page came without a token: a static host, or an address typed by hand
 *   connecting  the first answer is due
 *   live        it answers
 *   gone        it answered before and does not now; asked again and again
 *   refused     it answers, but not to our token: it was started anew
 */

import { currentToken } from "./token.js";

export const POLL_MS = 1500;
export const LAST_POLL_MS = 5000;

/** @typedef {{id: string, status: string, model: string, step: number, steps: number, started: number, updated: number, bytes: number, problem?: string}} RunInfo */

class Runner extends EventTarget {
  /** @type {"absent" | "connecting" | "live" | "gone" | "refused"} */
  state = "absent";
  /** @type {RunInfo[]} the newest first */
  runs = [];
  #started = false;
  #polling = false;
  #failures = 0;

  /** Begins to ask for the list of runs; later calls do nothing. */
  start() {
    if (this.#started) return;
    this.#started = true;
    addEventListener("hashchange", () => this.#begin()); // the printed address, in this very tab
    this.#begin();
  }

  #begin() {
    if (currentToken() === null || this.#polling) return;
    this.#polling = true;
    this.#set("connecting", []);
    this.#poll();
  }

  /** Address of a run's events. */
  eventsUrl(id) {
    return `api/runs/${encodeURIComponent(id)}/events`;
  }

  async #poll() {
    await this.#ask();
    const delay = Math.min(POLL_MS * 2 ** this.#failures, LAST_POLL_MS);
    setTimeout(() => this.#whenSeen(() => this.#poll()), delay);
  }

  async #ask() {
    try {
      const headers = { Authorization: `Bearer ${currentToken()}` };
      const answer = await fetch("api/runs", { headers, cache: "no-store" });
      this.#failures = 0;
      if (answer.ok) this.#set("live", await answer.json());
      else this.#set(answer.status === 401 ? "refused" : "gone", this.runs);
    } catch {
      this.#failures += 1;
      this.#set("gone", this.runs); // the state says it; there is nothing else to do
    }
  }

  /** A hidden page does not ask; it asks at once when it is seen again. */
  #whenSeen(then) {
    if (!document.hidden) return then();
    document.addEventListener("visibilitychange", () => this.#whenSeen(then), { once: true });
  }

  #set(state, runs) {
    const same = state === this.state && JSON.stringify(runs) === JSON.stringify(this.runs);
    this.state = state;
    this.runs = runs;
    if (!same) this.dispatchEvent(new Event("change"));
  }
}

/** The one runner of this page. */
export const runner = new Runner();
