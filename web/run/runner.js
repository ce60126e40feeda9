/**
 * The runner this page belongs to: does it answer, and which runs does it have? It is asked while the
 * window is visible, and not while it is hidden.
 *
 *   absent      a static host
 *   keyless     a runner is there, but this address has no token: it was typed, or followed as a link
 *   connecting  the first answer is due
 *   live        it answers
 *   gone        it answered before and does not now; asked again and again
 *   refused     it answers, but does not accept our token: it was restarted
 */

import { runsIn } from "../schema/server-answers.js";
import { currentToken } from "./token.js";

const MARK = "Unfrozen-Runner"; // a header of every answer of a runner's server
const POLL_MS = 1500;
const LAST_POLL_MS = 5000;
const ANSWER_MS = 10_000;

/** @typedef {{id: string, status: string, model: string, step: number, steps: number, started: number, updated: number, bytes: number, problem?: string}} RunInfo */

class Runner extends EventTarget {
  /** @type {"absent" | "keyless" | "connecting" | "live" | "gone" | "refused"} */
  state = "absent";
  /** @type {RunInfo[]} the newest first */
  runs = [];
  /** Whether it is known that nobody is there, rather than only not yet seen. */
  isSettled = false;
  #started = false;
  #token = null;
  #failures = 0;
  #asking = false;
  #timer = 0;

  /** Begins to ask for the list of runs; later calls do nothing. */
  start() {
    if (this.#started) return;
    this.#started = true;
    addEventListener("hashchange", () => this.#begin()); // the printed address, in this very window
    document.addEventListener("visibilitychange", () => this.#poll());
    this.#begin();
    if (this.#token === null) void this.#detect();
  }

  /**
   * Asks the server.
   * @param {string} path
   * @returns {Promise<{status: number, text: string}>} status 0 when it does not answer
   */
  async get(path) {
    try {
      const headers = { Authorization: `Bearer ${this.#token}` };
      const signal = AbortSignal.timeout(ANSWER_MS);
      const answer = await fetch(path, { headers, cache: "no-store", signal });
      return { status: answer.status, text: await answer.text() };
    } catch {
      return { status: 0, text: "" }; // offline, ended or too slow: the state says so
    }
  }

  #begin() {
    const token = currentToken();
    if (token === this.#token) return;
    this.#token = token;
    this.#set("connecting", []);
    void this.#poll();
  }

  /** Without a token nobody may ask for runs; but whoever serves this page may be asked what it is. */
  async #detect() {
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
      if (answer.headers.has(MARK) && this.state === "absent") this.state = "keyless";
    } catch {
      // Offline, or a file: a page without a runner reads the same.
    }
    this.isSettled = true;
    this.dispatchEvent(new Event("change"));
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (document.hidden || this.#token === null || this.#asking) return;
    this.#asking = true;
    const token = this.#token;
    const answer = await this.get("api/runs");
    this.#asking = false;
    if (token !== this.#token) return void this.#poll();
    this.#take(answer);
    const isSlow = this.#failures > 0 || this.state === "refused";
    const delay = isSlow ? Math.min(POLL_MS * 2 ** (this.#failures || 2), LAST_POLL_MS) : POLL_MS;
    this.#timer = setTimeout(() => this.#poll(), delay);
  }

  #take({ status, text }) {
    const runs = status === 200 ? listIn(text) : null;
    this.#failures = status === 0 || (status === 200 && !runs) ? this.#failures + 1 : 0;
    if (runs) this.#set("live", runsIn(runs));
    else this.#set(status === 401 ? "refused" : "gone", this.runs);
  }

  #set(state, runs) {
    const same = state === this.state && JSON.stringify(runs) === JSON.stringify(this.runs);
    this.state = state;
    this.runs = runs;
    if (!same) this.dispatchEvent(new Event("change"));
  }
}

/** @returns {unknown[] | null} null where the answer is no list */
function listIn(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list : null;
  } catch {
    return null; // counted as an answer that did not come
  }
}

/** The one runner of this page. */
export const runner = new Runner();
