/** The drawn states of a figure that has nothing to show: wrong data, or none yet. */

import { h } from "./vnode.js";

/**
 * The quiet box shown instead of a table or a plot that cannot be drawn.
 * @param {"error" | "empty"} kind
 * @param {string} title what happened
 * @param {string} text why, and what to do
 */
export function stateView(kind, title, text) {
  return h(
    "div",
    { class: `figure-state figure-state-${kind}`, role: kind === "error" ? "alert" : null },
    h("p", { class: "figure-state-title" }, title),
    h("p", { class: "figure-state-text" }, text),
  );
}

/**
 * A wrong value in a few words, for an error sentence.
 * @param {unknown} value
 * @returns {string}
 */
export function describe(value) {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
