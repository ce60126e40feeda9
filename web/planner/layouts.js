/**
 * The layouts of the plan's cards, ranked: Python looks for them when the reader asks, in turns
 * between which it answers everything else. Another plan than the one asked about, or one of the
 * layouts, puts an end to it.
 */

import { h } from "../figures/vnode.js";
import { planner } from "../python/planner.js";
import { applyButton, commandWords } from "./answers.js";

export const FIND = "layouts"; // the way of the button that asks
const REDRAW_MS = 250;

export class LayoutSearch {
  #calls = 0;
  #asked = ""; // the plan that was asked about
  #told = null;

  /** @param {() => void} redraw shows what is told now */
  constructor(redraw) {
    this.redraw = redraw;
  }

  /** Looks for the layouts of a plan, of those that `framework` runs, or anyone. */
  async find(state, framework = "") {
    const call = ++this.#calls;
    this.#asked = keyOf(state);
    this.#told = { ...this.#told, done: false };
    this.redraw();
    let drawn = performance.now();
    while (!this.#told.done) {
      const told = await planner.ask("layouts", { state, framework });
      if (call !== this.#calls) return;
      this.#told = told ?? { done: true, rows: [], none: "Python failed. Press the button again." };
      if (!this.#told.done && performance.now() - drawn < REDRAW_MS) continue;
      drawn = performance.now();
      this.redraw();
    }
  }

  /** What there is to show beside a plan; null where nothing was asked about it. */
  about(state) {
    const key = keyOf(state);
    const rows = this.#told?.rows ?? [];
    if (key !== this.#asked && !rows.some((row) => keyOf(row.state) === key)) {
      this.#calls += 1; // an answer on its way is of no use any more
      this.#told = null;
      this.#asked = "";
    }
    return this.#told && { ...this.#told, chosen: key };
  }
}

function keyOf(state) {
  return JSON.stringify(Object.entries(state).sort());
}

/** The button that asks, then the ranking. @param {object | null | undefined} told */
export function layoutsView(told) {
  const begun = told && h("p", { class: "mp-quiet" }, told.problem?.text ?? told.none ?? "");
  return [
    h(
      "p",
      { class: "mp-sentence" },
      "Which cards share a layer, a sequence, the depth or the states, what is recomputed and how many sequences go " +
        "through at once: the same step, the fastest way that fits. ",
      applyButton(FIND, told && !told.done ? "Looking…" : "Rank the layouts", "Rank the layouts of these cards"),
    ),
    told?.text && h("p", { class: "mp-quiet" }, told.text, " ", told.by && byView(told)),
    begun,
    told?.rows?.length > 0 && rowsView(told),
    told?.command &&
      h(
        "details",
        { class: "mp-more", "data-key": "layouts-command" },
        h("summary", null, "What to type for the first"),
        h("pre", { class: "listing", tabindex: 0 }, h("code", null, commandWords(told.command))),
      ),
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
