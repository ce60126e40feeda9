/**
 * The view of the decision: printed when the site is built, and upgraded in place.
 */

import { spellCommand } from "../run/command-line.js";
import { controlsView } from "./controls.js";
import { commandParts } from "../planner/answers.js";
import { bakedStatus } from "../planner/status-line.js";
import { h } from "../figures/vnode.js";
import { fragment } from "../page/address.js";

/**
 * @param {object} view from `unfrozen.decision`
 * @param {{live?: boolean, figure?: boolean}} [opts] live: controls and buttons can be used; figure: the order and its
 *   numbers alone, which lead to the page of the whole
 */
export function methodDecisionView(view, { live = false, figure = false } = {}) {
  return h(
    "div",
    { class: "md" },
    controlsView(view, { live }),
    bakedStatus(),
    h("div", { class: "widget-result" }, resultView(view, { live, figure })),
  );
}

/** The answer, and the four methods in their order. */
export function resultView({ title, text, rule, methods, flips, query }, { live, figure }) {
  return [
    h("h3", { class: "verdict-title" }, title),
    h("p", { class: "verdict-text" }, text),
    h(
      "ol",
      { class: "md-methods" },
      methods.map((method, index) => methodView(method, flips?.[method.key] ?? [], { isFirst: index === 0, live, figure })),
    ),
    figure
      ? h("p", null, h("a", { href: `planner/${fragment(query, "decision")}` }, "Why this order, what would change it, and what to type"))
      : h("p", { class: "md-rule faint" }, rule),
  ];
}

function methodView({ key, name, does_it: doesIt, numbers, checks, recipe, command, planner }, flips, { isFirst, live, figure }) {
  return h(
    "li",
    { class: doesIt ? "stack md-method" : "stack md-method md-cannot" },
    h("h4", { class: "md-name" }, name),
    h(
      "dl",
      { class: "numbers md-numbers" },
      numbers.map(({ label, text, note }) =>
        h("div", null, h("dt", { class: "quiet" }, label), h("dd", { class: "numeric" }, text, " ", h("span", { class: "md-note quiet" }, note))),
      ),
    ),
    !figure && h("ul", { class: "md-checks" }, checks.map(checkView)),
    !figure && !isFirst && flipsView(key, flips, live),
    !figure && howView({ key, recipe, command, planner }),
  );
}

function howView({ key, recipe, command, planner }) {
  return h(
    "details",
    { class: "fold", "data-key": `md-${key}` },
    h("summary", null, command ? "How, and what to type" : "How"),
    h("p", { class: "md-how soft" }, recipe),
    command && commandView(key, command),
    planner !== null && h("p", null, h("a", { class: "md-planner", href: "#planner", "data-query": planner }, "Open in the planner")),
  );
}

function checkView({ good, label, text }) {
  return h(
    "li",
    { class: good ? "md-good" : "md-bad" },
    h("span", { class: "md-mark", "aria-hidden": "true" }, good ? "✓" : "✗"),
    h("span", null, h("b", null, `${label}: `), text),
  );
}

function flipsView(key, flips, live) {
  if (flips.length === 0) return h("p", { class: "chips chips-small md-flips faint" }, "No single change puts it first.");
  return h(
    "p",
    { class: "chips chips-small md-flips faint" },
    h("span", null, "Would be first "),
    flips.map(({ text }, index) =>
      live
        ? h("button", { type: "button", class: "chip", "data-flip": `${key} ${index}` }, text)
        : h("span", { class: "chip" }, text),
    ),
  );
}

function commandView(key, { text, note }) {
  return h(
    "div",
    null,
    h(
      "div",
      { class: "command" },
      h("pre", { class: "listing", tabindex: 0, "data-copy": key }, h("code", null, key === "full" ? commandParts(spellCommand(text)) : text)),
      h("button", { type: "button", class: "button button-small copy-button", "data-copies": key }, "Copy"),
    ),
    note !== "" && h("p", { class: "quiet" }, note),
  );
}
