/**
 * What a run view announces to screen readers: that a run begins, was evaluated, has an alert, changes its
 * state or ends. Steps are not announced.
 */

import { firstStep } from "../fold.js";
import { deltaText, lossText } from "../../figures/number.js";
import { suiteLabel } from "./tables.js";

const GAP_MS = 5000; // between two announced evaluations
const SHORT_STATES = ["Connecting", "Reading"];

/** Remembers what one view has announced. */
export class Announcements {
  #run = "";
  #title = "";
  #alerts = 0;
  #step = -1; // of the newest evaluation that was announced
  #announcedAt = -Infinity;

  /**
   * @param {ReturnType<typeof import("../fold.js").emptyRun>} run
   * @param {import("../notices.js").Notice} notice
   * @param {number} now milliseconds
   * @returns {string} what to announce now; "" for nothing
   */
  next(run, notice, now) {
    if (SHORT_STATES.includes(notice.title)) return "";
    if (run.run !== this.#run) this.#turnTo(run);
    const texts = [...this.#alertsOf(run), ...this.#evaluationOf(run, now), ...this.#stateOf(notice)];
    return texts.join(" ");
  }

  /** What a run held before it was opened is not announced. */
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
    if (step <= this.#step || (now - this.#announcedAt < GAP_MS && !run.end)) return [];
    this.#step = step;
    this.#announcedAt = now;
    const scores = ["task", "general"].filter((suite) => run.evals[suite]?.x.at(-1) === step);
    const changes = scores.map((suite) => {
      const { y, delta } = run.evals[suite];
      return `${suiteLabel(suite)} loss ${lossText(y.at(-1))}, ${deltaText(delta.at(-1))} since step ${firstStep(run, run.evals[suite])}.`;
    });
    return [`Evaluated at step ${step}.`, ...changes];
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
