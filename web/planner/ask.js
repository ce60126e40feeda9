/** A question to the planner's Python, with words for the reader while they wait. */

import { planner } from "../python/planner.js";

/**
 * @param {string} name a question of `unfrozen.ask`
 * @param {unknown} value its argument
 * @param {(words: string) => void} say tells what is waited for; an empty text when it is over
 * @returns {Promise<object | null>} null when Python failed, which was said, or a newer question of
 *   this name took its place
 */
export async function askPlanner(name, value, say) {
  const tell = () => say(words(planner.status));
  planner.addEventListener("status", tell);
  const answer = planner.ask(name, value);
  tell();
  const found = await answer;
  planner.removeEventListener("status", tell);
  tell();
  return found;
}

/** What tells those who do not see it that there is another question. */
export function voice() {
  const element = Object.assign(document.createElement("p"), { className: "visually-hidden" });
  element.setAttribute("role", "status");
  return element;
}

function words({ phase, starting, progress, reason }) {
  if (phase === "failed") return `${reason} Press the button again to try again.`;
  if (phase !== "loading") return "";
  return starting ? "Python starts." : `Python loads: ${Math.floor(progress * 100)}%.`;
}
