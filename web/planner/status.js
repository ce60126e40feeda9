/** The planner's line about itself: where its numbers come from, and what it waits for. */

const BUILT = "Computed when this page was built.";

/**
 * @typedef {"baked" | "loading" | "live" | "stale" | "failed"} Standing
 *   baked: nothing was changed yet; loading: a change waits for Python; live: figures are those of
 *   the controls; stale: the controls cannot be planned; failed: Python is not there
 */

/**
 * @param {import("../python/planner.js").Status | {phase: "absent"}} python
 *   absent: what the controls need did not arrive
 * @param {{changed: boolean, computed: boolean, problem: object | null, noun?: string}} about
 *   changed: the reader changed something; computed: the figures are from this browser; noun: what
 *   they are, "plan" where nothing is said
 * @returns {{standing: Standing, text: string}}
 */
export function statusOf(python, { changed, computed, problem, noun = "plan" }) {
  const below = computed ? `Below is the last ${noun} that was made.` : `Below is the ${noun} from when this page was built.`;
  if (python.phase === "absent") return { standing: "failed", text: `${BUILT} The controls could not be loaded: reload the page.` };
  if (python.phase === "failed") return { standing: "failed", text: `${python.reason} ${below}` };
  if (python.phase === "loading" && changed) {
    const words = python.starting ? "Python starts." : `Python loads: ${Math.floor(python.progress * 100)}%.`;
    return { standing: "loading", text: `${words} ${below}` };
  }
  if (problem) return { standing: "stale", text: elsewhere(problem) + (computed ? `Below is the last ${noun} that could be made.` : below) };
  if (computed) return { standing: "live", text: `Computed in your browser. Nothing is sent anywhere; the address of this page keeps your ${noun}.` };
  return { standing: "baked", text: `${BUILT} Change anything, and Python starts in this page.` };
}

/** A problem that has no control of its own is told here. */
function elsewhere({ placed, label, key, text }) {
  return placed ? "" : `${label ?? key}: ${text} `;
}
