/** Plans that a reader keeps: in the address, side by side, beside the first of them. */

import { h } from "../figures/vnode.js";
import { queryOfAddress, remember } from "../page/address.js";

export const PLANS = "plans"; // its name in the address; `data-way` of its buttons begins so

/** The queries of the kept plans, in the order in which they were kept. */
export function keptQueries() {
  return new URLSearchParams(queryOfAddress(PLANS)).getAll("plan");
}

/** Keeps one more plan, or takes one away, as a step of the history. @param {string} query */
export function toggleKept(query) {
  const before = keptQueries();
  const after = before.includes(query) ? before.filter((each) => each !== query) : [...before, query];
  const text = (queries) => new URLSearchParams(queries.map((each) => ["plan", each])).toString();
  remember(queryOfAddress(PLANS), text(after), PLANS, "planner");
}

/** @param {object[] | null} rows from `unfrozen.planner.compare_plans`; null before a plan was kept */
export function plansView(rows) {
  if (!rows?.some(({ kept }) => kept)) return h("p", null, button("toggle", "Keep this plan to compare it", "Keep this plan to compare it"));
  return [
    h(
      "p",
      { class: "mp-advice-head hint", "aria-hidden": "true" },
      ["Plans you keep", "against the first", "memory", "the whole run"].map((text) => h("span", null, text)),
    ),
    h("ol", { class: "mp-advice" }, rows.map(rowView)),
  ];
}

function rowView({ query, name, now, kept, memory, fits, saved, time, ratio, cost, problem }, index) {
  const keep = kept ? button(`toggle-${index}`, "Remove", `Remove ${name}`) : button(`toggle-${index}`, "Keep", `Keep ${name}`);
  const what = h("span", { class: "mp-advice-what" }, name, now && h("span", { class: "mp-tag" }, "shown"), problem && h("span", { class: "mp-advice-note hint" }, problem));
  if (problem) return h("li", { class: "mp-advice-row", "data-query": query }, what, h("span", { class: "row mp-kept-buttons" }, keep));
  return h(
    "li",
    { class: "mp-advice-row numeric", "data-query": query },
    what,
    h("span", null, saved),
    h("span", { class: fits ? "mp-fits" : "soft" }, memory, fits && h("span", { class: "mp-tag" }, "fits")),
    h("span", { class: "quiet" }, [time, cost].filter(Boolean).join(", "), ratio && h("span", { class: "mp-advice-note hint" }, ratio)),
    h("span", { class: "row mp-kept-buttons" }, !now && button(`use-${index}`, "Use", `Use ${name}`), keep),
  );
}

function button(way, text, label) {
  return h("button", { type: "button", class: "button button-small", "data-way": `${PLANS}-${way}`, "aria-label": label }, text);
}
