/**
 * Fetches for a run what its worker may not: packages of this site, and wheels of its host.
 *
 * The worker asks in a message; what it asks for is looked up or checked before it is fetched. A
 * package that was fetched once is kept for this visit.
 */

import { BootError } from "./errors.js";
import { fetchPackage, fetchWheel, isPackage, noteDamaged } from "./supply.js";

const MOST_IN_A_RUN = 100;

export class Errands {
  #show;
  #line = new AbortController();
  #left = MOST_IN_A_RUN;

  /** @param {(name: string, share: string) => void} show what is on its way; both empty at its end */
  constructor(show) {
    this.#show = show;
    /** @type {Record<string, ArrayBuffer>} what cells have imported, by name */
    this.kept = {};
  }

  /** A run begins. */
  begin() {
    this.#line = new AbortController();
    this.#left = MOST_IN_A_RUN;
  }

  /** End what is being fetched. */
  stop() {
    this.#line.abort();
  }

  /** What was kept under a name is not its wheel. */
  drop(name) {
    if (!isPackage(name)) return;
    delete this.kept[name];
    noteDamaged(name);
  }

  /**
   * Bring one wheel.
   * @param {{want: number, name: string, isAddress: boolean}} wanted
   * @returns {Promise<{want: number, bytes?: ArrayBuffer, reason: string, stopped: boolean}>}
   */
  async bring({ want, name, isAddress }) {
    const { signal } = this.#line;
    try {
      return { want, bytes: await this.#bytes(name, isAddress, signal), reason: "", stopped: false };
    } catch (error) {
      return { want, reason: error.reason ?? error.message, stopped: signal.aborted };
    }
  }

  async #bytes(name, isAddress, signal) {
    if (--this.#left < 0) throw new BootError(`One run may fetch ${MOST_IN_A_RUN} wheels, and no more.`);
    if (!isAddress && !isPackage(name)) throw new BootError("This site carries no such package.");
    if (!isAddress && Object.hasOwn(this.kept, name)) return this.kept[name];
    const shown = isAddress ? name.split("/").at(-1).slice(0, 80) : name;
    this.#show(shown, "");
    try {
      if (isAddress) return await fetchWheel(name, signal);
      const tell = (ratio) => this.#show(shown, `${Math.floor(ratio * 100)}%`);
      return (this.kept[name] = await fetchPackage(name, tell, signal));
    } finally {
      this.#show("", "");
    }
  }
}
