/** Why memory ran out, and what would have fitted: the words of the trainer, laid out. */

import { h } from "../../figures/vnode.js";

/**
 * @param {ReturnType<typeof import("../fold.js").emptyRun>} run
 * @returns {import("../../figures/vnode.js").VNode | null} null for a run that ended otherwise
 */
export function postMortemView({ end }) {
  const { facts = [], advice, settings = [] } = end?.postMortem ?? {};
  if (facts.length === 0 && settings.length === 0) return null;
  return h(
    "section",
    { class: "run-section run-post-mortem" },
    h("h4", { class: "run-chart-title" }, "Why memory ran out"),
    facts.length > 0 && h("dl", null, facts.map(factView)),
    advice && h("p", null, advice),
    settings.length > 0 && h("ul", null, settings.map(settingView)),
  );
}

function factView({ name, text }) {
  return h("div", null, h("dt", null, name), h("dd", null, text));
}

function settingView({ options, text }) {
  return h("li", null, h("code", null, options), h("span", { class: "run-note" }, text));
}
