/** The ranked layouts of the plan's GPUs: the search, the button that starts it, and a row for each. */

import { h } from "../figures/vnode.js";
import { applyButton, commandParts } from "./answers.js";

export const FIND = "layouts"; // `data-way` of the button that asks
const REDRAW_MS = 250;

/** A key that differs between any two plans. */
export function keyOf(state) {
  return JSON.stringify(Object.entries(state).sort());
}

/**
 * Asks Python for the layouts of a plan, in turns between which it answers everything else. Another
 * plan than the one asked about, unless it is one of the layouts, ends the search.
 */
export class LayoutSearch {
  #calls = 0;
  #asked = ""; // the plan that was asked about
  #ranking = null;

  /**
   * @param {(name: string, value: unknown) => Promise<object | null>} ask asks Python
   * @param {() => void} redraw shows the ranking as it is now
   */
  constructor(ask, redraw) {
    this.ask = ask;
    this.redraw = redraw;
  }

  /** Searches the layouts of a plan that `framework` runs, or any framework. */
  async find(state, framework = "") {
    const call = ++this.#calls;
    this.#asked = keyOf(state);
    this.#ranking = { ...this.#ranking, done: false };
    this.redraw();
    let drawn = performance.now();
    while (!this.#ranking.done) {
      const ranking = await this.ask("frameworks.page.layouts", { state, framework });
      if (call !== this.#calls) return;
      this.#ranking = ranking ?? { done: true, rows: [], none: "Python failed. Press the button again." };
      if (!this.#ranking.done && performance.now() - drawn < REDRAW_MS) continue;
      drawn = performance.now();
      this.redraw();
    }
  }

  /** What there is to show beside a plan; null where nothing was asked about it. */
  about(state) {
    const key = keyOf(state);
    const rows = this.#ranking?.rows ?? [];
    if (key !== this.#asked && !rows.some((row) => keyOf(row.state) === key)) {
      this.#calls += 1; // an answer on its way is of no use now
      this.#ranking = null;
      this.#asked = "";
    }
    return this.#ranking && { ...this.#ranking, chosen: key };
  }
}

/** The button that asks, then the ranking. @param {object | null | undefined} ranking */
export function layoutsView(ranking) {
  const reason = ranking?.problem?.text || ranking?.none;
  return [
    h(
      "p",
      { class: "mp-sentence soft" },
      "Tensor, context, pipeline and data parallelism, sharding, activation checkpointing and micro-batch size: the " +
        "fastest combination that fits, for the same step. ",
      applyButton(FIND, ranking && !ranking.done ? "Looking…" : "Rank the layouts", "Rank the layouts of these GPUs"),
    ),
    ranking?.text && h("p", { class: "quiet" }, ranking.text, " ", ranking.by && byView(ranking)),
    reason && h("p", { class: "mp-sentence soft" }, reason),
    ...(ranking?.rows?.length ? rowsView(ranking) : []),
    ranking?.framework && ranking.rows.length > 0 && commandView(ranking),
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
    { class: "fold", "data-key": "layouts-command" },
    h("summary", null, row ? "What to type for the chosen one" : "What to type for the first"),
    h("pre", { class: "listing", tabindex: 0 }, h("code", null, commandParts((row ?? rows[0]).command))),
  );
}

function rowsView({ rows, unit, chosen }) {
  return [
    h(
      "p",
      { class: "mp-layouts-head hint", "aria-hidden": "true" },
      ["Layout", "memory", "step time", "tokens/s", `${unit} per 10⁹ tokens`, "bound by"].map((text) => h("span", null, text)),
    ),
    h("ol", { class: "mp-layouts" }, rows.map((row, index) => rowView(row, index, unit, chosen))),
  ];
}

function rowView({ label, note, memory, time, speed, cost, bound, state }, index, unit, chosen) {
  const isChosen = keyOf(state) === chosen;
  return h(
    "li",
    { class: isChosen ? "row mp-layouts-row numeric mp-fits" : "row mp-layouts-row numeric" },
    h("span", { class: "mp-layouts-what" }, label, h("span", { class: "mp-advice-note hint" }, note)),
    cell("memory ", memory),
    cell("step time ", time),
    cell("", speed, " tokens/s"),
    cell(`${unit} per billion tokens: `, cost),
    cell("bound by ", bound),
    isChosen ? h("span", { class: "mp-tag" }, "chosen") : applyButton(`${FIND}-${index}`, "Use", `Use ${label}, ${note}`),
  );
}

function cell(before, text, after = "") {
  return h("span", { class: "mp-layouts-cell" }, hidden(before), text, hidden(after));
}

function hidden(text) {
  return text && h("span", { class: "mp-layouts-word faint" }, text);
}
