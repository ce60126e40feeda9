/** A question to the planner's Python, with its progress for the reader while they wait. */

import { loadingText } from "../planner/status-line.js";
import { planner } from "../python/planner.js";

/**
 * @param {string} name a question of `unfrozen.ask`
 * @param {unknown} value its argument
 * @param {(text: string) => void} report gets what is waited for; an empty text when it is over
 * @returns {Promise<object | null>} null when Python failed, which was reported, or a newer question of
 *   this name took its place
 */
export async function askPlanner(name, value, report) {
  const update = () => report(statusText(planner.status));
  planner.addEventListener("status", update);
  const answer = planner.ask(name, value);
  update();
  const found = await answer;
  planner.removeEventListener("status", update);
  update();
  return found;
}

/** A live region that announces another question to screen readers. */
export function announcer() {
  const element = Object.assign(document.createElement("p"), { className: "visually-hidden" });
  element.setAttribute("role", "status");
  return element;
}

function statusText(status) {
  if (status.phase === "failed") return `${status.reason} Press the button again to try again.`;
  return status.phase === "loading" ? loadingText(status) : "";
}
