/**
 * What a run view says aloud: that a run begins, was evaluated, has an alert, stands otherwise than
 * before, or is over. Steps go by without a word.
 */

import { firstStep } from "../fold.js";
import { deltaText, lossText } from "../../figures/number.js";
import { suiteLabel } from "./tables.js";

const GAP_MS = 5000; // between two evaluations that are said
const SHORT_STATES = ["Connecting", "Reading"];

/** Remembers what was said of one view. */
export class Spoken {
  #run = "";
  #title = "";
  #alerts = 0;
  #step = -1; // of the newest evaluation that was said
  #saidAt = -Infinity;

  /**
   * @param {ReturnType<typeof import("../fold.js").emptyRun>} run
   * @param {import("../notices.js").Notice} notice
   * @param {number} now milliseconds
   * @returns {string} what is to be said now; "" for nothing
   */
  next(run, notice, now) {
    if (SHORT_STATES.includes(notice.title)) return "";
    if (run.run !== this.#run) this.#turnTo(run);
    const said = [...this.#alertsOf(run), ...this.#evaluationOf(run, now), ...this.#stateOf(notice)];
    return said.join(" ");
  }

  /** What a run held before it was looked at is not told again. */
  #turnTo(run) {
    this.#run = run.run;
    this.#title = "";
    this.#alerts = run.alertCount;
    this.#step = newest(run);
  }

  #alertsOf({ alerts, alertCount }) {
    const fresh = alertCount - this.#alerts;
    this.#alerts = alertCount;
    if (fresh <= 0) return [];
    const more = fresh > 1 ? `${fresh} alerts, the newest: ` : "Alert: ";
    return [`${more}${alerts.at(-1)?.text}.`];
  }

  #evaluationOf(run, now) {
    const step = newest(run);
    if (step <= this.#step || (now - this.#saidAt < GAP_MS && !run.end)) return [];
    this.#step = step;
    this.#saidAt = now;
    const scores = ["task", "general"].filter((suite) => run.evals[suite]?.x.at(-1) === step);
    const words = scores.map((suite) => {
      const { y, delta } = run.evals[suite];
      return `${suiteLabel(suite)} loss ${lossText(y.at(-1))}, ${deltaText(delta.at(-1))} since step ${firstStep(run, run.evals[suite])}.`;
    });
    return [`Evaluated at step ${step}.`, ...words];
  }

  #stateOf({ title, text }) {
    if (title === this.#title) return [];
    this.#title = title;
    return [`${title}. ${text}`];
  }
}

function newest({ evals }) {
  return Math.max(-1, ...Object.values(evals).map(({ x }) => x.at(-1) ?? -1));
}
