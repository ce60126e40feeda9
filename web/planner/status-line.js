/** The line below the controls: where the numbers come from, and what they wait for. */

import { h } from "../figures/vnode.js";

const BUILT = "Computed when this page was built.";
const BAKED = "The verdict and the bar were computed when this page was built; the rest is still of the plan before.";

/** The line until a script is here; without scripts, also what is missing. */
export function bakedStatus() {
  return h("p", { class: "row widget-status" }, BUILT, " ", h("span", { class: "no-script" }, "The controls need JavaScript."));
}

/** How far Python has loaded. @param {import("../python/planner-client.js").Status} python */
export function loadingText({ starting, progress }) {
  return starting ? "Python starts." : `Python loads: ${Math.floor(progress * 100)}%.`;
}

/**
 * @typedef {"baked" | "loading" | "live" | "stale" | "failed"} Standing
 *   baked: nothing was changed yet; loading: a change waits for Python; live: figures are those of
 *   the controls; stale: the controls cannot be planned; failed: Python is not there
 */

/**
 * @param {import("../python/planner-client.js").Status | {phase: "absent"}} python
 *   absent: what the controls need did not arrive
 * @param {{changed: boolean, computed: boolean, baked: boolean, problem: object | null, noun?: string}} about
 *   changed: the reader changed something; computed: the figures are from this browser; baked: the verdict is of these
 *   controls all the same; noun: what they are, "plan" by default
 * @returns {{standing: Standing, text: string}}
 */
export function statusOf(python, { changed, computed, baked, problem, noun = "plan" }) {
  const below = baked ? BAKED : computed ? `Below is the last ${noun} that was made.` : `Below is the ${noun} from when this page was built.`;
  if (python.phase === "absent") return { standing: "failed", text: `${BUILT} The controls could not be loaded: reload the page.` };
  if (python.phase === "failed") return { standing: "failed", text: `${python.reason} ${below}` };
  if (python.phase === "loading" && changed) {
    return { standing: "loading", text: `${loadingText(python)} ${below}` };
  }
  if (problem) return { standing: "stale", text: unplacedText(problem) + (computed ? `Below is the last ${noun} that could be made.` : below) };
  if (computed) return { standing: "live", text: `Computed in your browser. Nothing is sent anywhere; the address of this page keeps your ${noun}.` };
  return { standing: "baked", text: `${BUILT} Change anything, and Python starts in this page.` };
}

/** A problem that has no control of its own. */
function unplacedText({ placed, label, key, text }) {
  return placed ? "" : `${label ?? key}: ${text} `;
}
