/** The view of an exercise: printed into the page, and drawn again for each new job. */

import { h } from "../figures/vnode.js";

/**
 * @typedef {{question: string, given: [name: string, value: string][],
 *   hints: {text: string, see: [href: string, text: string] | null}[], answer: string,
 *   terms: [label: string, formula: string, size: string][],
 *   inputs: [symbol: string, meaning: string, value: string][], sources: string[]}} Exercise
 *   as `unfrozen.exercises.compute_it` gives it
 */

/** The whole exercise; its form does nothing until the script is loaded. @param {Exercise} exercise */
export function exerciseView(exercise) {
  return h("div", { class: "exercise" }, jobView(exercise), answerForm(), helpView(exercise));
}

/** The job and the question. @param {Exercise} exercise */
export function jobView({ question, given }) {
  return h(
    "div",
    { class: "exercise-job" },
    h("dl", null, pairs(given)),
    h("p", { class: "exercise-question" }, question),
  );
}

/** The hints, and the answer with the planner's formula. @param {Exercise} exercise */
export function helpView({ hints, answer, terms, inputs, sources }) {
  return h(
    "div",
    { class: "exercise-help" },
    hints.map(hintView),
    h(
      "details",
      { class: "exercise-answer" },
      h("summary", null, "Answer"),
      h("div", { class: "exercise-result" }, answer),
      h("ul", null, terms.map(termView)),
      h("dl", null, pairs(inputs.map(([symbol, meaning, value]) => [symbol, meaning ? `${meaning}: ${value}` : value]))),
      sources.map((source) => h("p", { class: "quiet" }, source)),
    ),
  );
}

function pairs(rows) {
  return rows.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]);
}

function answerForm() {
  return h(
    "form",
    { class: "row" },
    h(
      "label",
      null,
      h("span", null, "Your answer, in GB or GiB"),
      h("input", { type: "text", size: 12, maxlength: 40, autocomplete: "off" }),
    ),
    h("button", { class: "button" }, "Check"),
    h("p", { class: "exercise-verdict", role: "status" }),
  );
}

function hintView({ text, see }, index) {
  return h(
    "details",
    null,
    h("summary", null, `Hint ${index + 1}`),
    h("p", null, text, see && [" ", h("a", { href: see[0] }, see[1])]),
  );
}

function termView([label, formula, size]) {
  return h("li", null, h("span", null, label), h("span", null, size), h("code", null, formula));
}
