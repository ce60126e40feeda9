/**
 * One server as all tabs with the same token see it: its list of runs, asked for once for all of
 * them, and the logs they read.
 *
 *   connecting  the first answer is due
 *   live        it answers
 *   gone        it answered before and does not now; asked again and again
 *   refused     it answers, but not to this token: it was started anew
 *
 * Nothing is asked while no tab is awake.
 */

import { Lanes } from "./lanes.js";

export const POLL_MS = 1500;
export const LAST_POLL_MS = 5000;
const ANSWER_MS = 10_000;
const FRESH_MS = 300; // a list as young as that serves a tab that wakes up

export class Server {
  /** Tabs, as `hub.js` knows them. */
  clients = new Set();
  state = "connecting";
  runs = [];
  #version = 0;
  #failures = 0;
  #asking = false;
  #askedAt = -Infinity;
  #timer = 0;
  #gets = new Map();

  /**
   * @param {string} token
   * @param {{follow: Function, fetch: typeof fetch}} effects
   */
  constructor(token, { follow, fetch: ask }) {
    this.headers = { Authorization: `Bearer ${token}` };
    this.ask = ask;
    this.lanes = new Lanes({
      infoOf: (run) => this.runs.find((info) => info?.id === run),
      follow: (run, source) =>
        follow({ ...source, url: `api/runs/${encodeURIComponent(run)}/events`, token, fetch: ask }),
    });
  }

  /** A tab came, slept or woke up. */
  wake() {
    clearTimeout(this.#timer);
    if (!this.#isWatched()) return;
    for (const client of this.clients) this.#tell(client);
    if (performance.now() - this.#askedAt > FRESH_MS) this.#poll();
    else this.#later();
  }

  /**
   * What the server answers to GET; tabs that ask at the same moment share the answer.
   * @param {string} path
   * @returns {Promise<{status: number, text: string}>} status 0 when it does not answer
   */
  get(path) {
    if (!this.#gets.has(path)) {
      const answer = this.#fetch(path).catch(() => ({ status: 0, text: "" }));
      this.#gets.set(path, answer);
      void answer.then(() => this.#gets.delete(path));
    }
    return this.#gets.get(path);
  }

  async #fetch(path) {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const answer = await this.ask(path, { headers: this.headers, cache: "no-store", signal });
    return { status: answer.status, text: await answer.text() };
  }

  async #poll() {
    if (this.#asking) return;
    this.#asking = true;
    this.#askedAt = performance.now();
    await this.#askForRuns();
    this.#asking = false;
    this.lanes.pump();
    if (this.#isWatched()) this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    const slow = this.#failures || this.state === "refused";
    const delay = slow ? Math.min(POLL_MS * 2 ** (this.#failures || 2), LAST_POLL_MS) : POLL_MS;
    this.#timer = setTimeout(() => this.#poll(), delay);
  }

  async #askForRuns() {
    try {
      const { status, text } = await this.#fetch("api/runs");
      const runs = status === 200 ? JSON.parse(text) : this.runs;
      if (!Array.isArray(runs)) throw new TypeError("no list of runs");
      this.#failures = 0;
      if (status === 200) this.#set("live", runs);
      else this.#set(status === 401 ? "refused" : "gone", this.runs);
    } catch {
      this.#failures += 1;
      this.#set("gone", this.runs); // the state says it; there is nothing else to do
    }
  }

  #set(state, runs) {
    const same = state === this.state && JSON.stringify(runs) === JSON.stringify(this.runs);
    if (same && this.#version) return;
    Object.assign(this, { state, runs });
    this.#version += 1;
    for (const client of this.clients) this.#tell(client);
  }

  #tell(client) {
    if (!client.awake || client.version === this.#version) return;
    client.version = this.#version;
    client.say({ type: "runs", state: this.state, runs: this.runs });
  }

  #isWatched() {
    return [...this.clients].some(({ awake }) => awake);
  }
}
