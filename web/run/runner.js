/**
 * The runner this page belongs to: is it there, and which runs has it?
 *
 *   absent      a static host
 *   keyless     a runner is there, but this address has no token: it was typed, or followed as a link
 *   connecting  the first answer is due
 *   live        it answers
 *   gone        it answered before and does not now; asked again and again
 *   refused     it answers, but not to our token: it was started anew
 */

import { runsIn } from "../schema/server-answers.js";
import { link } from "./shared.js";
import { currentToken } from "./token.js";

const MARK = "Unfrozen-Runner"; // a header of every answer of a runner's server

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

  /** Begins to ask for the list of runs; later calls do nothing. */
  start() {
    if (this.#started) return;
    this.#started = true;
    addEventListener("hashchange", () => this.#begin()); // the printed address, in this very tab
    this.#begin();
    if (this.#token === null) void this.#look();
  }

  #begin() {
    const token = currentToken();
    if (token === this.#token) return;
    this.#token = token;
    this.#set("connecting", []);
    link.open(token, ({ state, runs }) => this.#set(state, runs ? runsIn(runs) : this.runs));
  }

  /** Without a token nobody may ask for runs; but who serves this page may be asked. */
  async #look() {
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
      if (answer.headers.has(MARK) && this.state === "absent") this.state = "keyless";
    } catch {
      // Offline, or a file: a page without a runner reads the same.
    }
    this.isSettled = true;
    this.dispatchEvent(new Event("change"));
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
