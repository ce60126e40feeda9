/** The ranked layouts of the plan's cards: the button that asks for them, and a row for each. */

import { h } from "../figures/vnode.js";
import { applyButton, commandWords } from "./answers.js";

export const FIND = "layouts"; // the way of the button that asks

/** What tells one plan from another. */
export function keyOf(state) {
  return JSON.stringify(Object.entries(state).sort());
}

/** The button that asks, then the ranking. @param {object | null | undefined} told */
export function layoutsView(told) {
  const reason = told?.problem?.text || told?.none;
  return [
    h(
      "p",
      { class: "mp-sentence" },
      "Which cards share a layer, a sequence, the depth or the states, what is recomputed and how many sequences go " +
        "through at once: the same step, the fastest way that fits. ",
      applyButton(FIND, told && !told.done ? "Looking…" : "Rank the layouts", "Rank the layouts of these cards"),
    ),
    told?.text && h("p", { class: "mp-quiet" }, told.text, " ", told.by && byView(told)),
    reason && h("p", { class: "mp-sentence" }, reason),
    ...(told?.rows?.length ? rowsView(told) : []),
    told?.framework && told.rows.length > 0 && commandView(told),
  ];
}

function byView({ by, framework }) {
  return h(
    "label",
    { class: "mp-layouts-by" },
    "Run by ",
    h(
      "select",
      { "data-way": "layouts-by" },
      by.map(({ value, label }) => h("option", { value, selected: value === framework || null }, label)),
    ),
  );
}

/** What to type for the chosen layout, else for the first. */
function commandView({ rows, chosen }) {
  const row = rows.find(({ state }) => keyOf(state) === chosen);
  return h(
    "details",
    { class: "mp-more", "data-key": "layouts-command" },
    h("summary", null, row ? "What to type for the chosen one" : "What to type for the first"),
    h("pre", { class: "listing", tabindex: 0 }, h("code", null, commandWords((row ?? rows[0]).command))),
  );
}

function rowsView({ rows, unit, chosen }) {
  return [
    h(
      "p",
      { class: "mp-layouts-head", "aria-hidden": "true" },
      ["Layout", "needs", "a step", "tokens/s", `${unit} for 10⁹ tokens`, "most of it"].map((text) => h("span", null, text)),
    ),
    h("ol", { class: "mp-layouts" }, rows.map((row, index) => rowView(row, index, unit, chosen))),
  ];
}

function rowView({ label, note, memory, time, speed, cost, bound, state }, index, unit, chosen) {
  const isChosen = keyOf(state) === chosen;
  return h(
    "li",
    { class: isChosen ? "mp-layouts-row mp-fits" : "mp-layouts-row" },
    h("span", { class: "mp-layouts-what" }, label, h("span", { class: "mp-advice-note" }, note)),
    cell("needs ", memory),
    cell("a step takes ", time),
    cell("", speed, " tokens/s"),
    cell(`${unit} for a billion tokens: `, cost),
    cell("most of it: ", bound),
    isChosen ? h("span", { class: "mp-tag" }, "chosen") : applyButton(`${FIND}-${index}`, "Use", `Use ${label}, ${note}`),
  );
}

function cell(before, text, after = "") {
  return h("span", { class: "mp-layouts-cell" }, hidden(before), text, hidden(after));
}

function hidden(text) {
  return text && h("span", { class: "mp-layouts-word" }, text);
}
