/**
 * Asks Python for the layouts of a plan, in turns between which it answers everything else. Another
 * plan than the one asked about, unless it is one of the layouts, puts an end to it.
 */

import { planner } from "../python/planner.js";
import { keyOf } from "./layouts.js";

const REDRAW_MS = 250;

export class LayoutSearch {
  #calls = 0;
  #asked = ""; // the plan that was asked about
  #told = null;

  /** @param {() => void} redraw shows what is told now */
  constructor(redraw) {
    this.redraw = redraw;
  }

  /** Looks for the layouts of a plan, of those that `framework` runs, or anyone. */
  async find(state, framework = "") {
    const call = ++this.#calls;
    this.#asked = keyOf(state);
    this.#told = { ...this.#told, done: false };
    this.redraw();
    let drawn = performance.now();
    while (!this.#told.done) {
      const told = await planner.ask("layouts", { state, framework });
      if (call !== this.#calls) return;
      this.#told = told ?? { done: true, rows: [], none: "Python failed. Press the button again." };
      if (!this.#told.done && performance.now() - drawn < REDRAW_MS) continue;
      drawn = performance.now();
      this.redraw();
    }
  }

  /** What there is to show beside a plan; null where nothing was asked about it. */
  about(state) {
    const key = keyOf(state);
    const rows = this.#told?.rows ?? [];
    if (key !== this.#asked && !rows.some((row) => keyOf(row.state) === key)) {
      this.#calls += 1; // an answer on its way is of no use any more
      this.#told = null;
      this.#asked = "";
    }
    return this.#told && { ...this.#told, chosen: key };
  }
}
