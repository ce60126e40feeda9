/** The one plan for the reader's data and GPUs or budget: the search, the button that starts it, and what it finds. */

import { h } from "../figures/vnode.js";
import { applyButton, commandParts } from "./answers.js";

export const FIND = "one-plan"; // `data-way` of the button that asks
const REDRAW_MS = 250;

/** A key that differs between any two plans. */
export function keyOf(state) {
  return JSON.stringify(Object.entries(state).sort());
}

/**
 * Asks Python for the plan of a state, in turns between which it answers everything else. Another
 * state than the one asked about, unless it is one of those found, ends the search.
 */
export class PlanSearch {
  #calls = 0;
  #asked = ""; // the state that was asked about; null until Python has answered the edits before
  #found = null;

  /**
   * @param {(name: string, value: unknown) => Promise<object | null>} ask asks Python
   * @param {() => void} redraw shows what is found as it is now
   */
  constructor(ask, redraw) {
    this.ask = ask;
    this.redraw = redraw;
  }

  /** Searches the plan of a state, once it is `settled`, that `framework` runs, or any framework. */
  async find(settled, framework = "") {
    const call = ++this.#calls;
    this.#asked = null;
    this.#found = { ...this.#found, done: false };
    this.redraw();
    const state = await settled;
    if (call !== this.#calls) return;
    this.#asked = keyOf(state);
    let drawn = performance.now();
    while (!this.#found.done) {
      const found = await this.ask("project.page.plan", { state, framework });
      if (call !== this.#calls) return;
      this.#found = found ?? { done: true, rows: [], none: "Python failed. Press the button again." };
      if (!this.#found.done && performance.now() - drawn < REDRAW_MS) continue;
      drawn = performance.now();
      this.redraw();
    }
  }

  /** What there is to show beside a state; null where nothing was asked about it. */
  about(state) {
    const key = keyOf(state);
    if (this.#asked !== null && key !== this.#asked && !choices(this.#found).some((one) => keyOf(one.state) === key)) {
      this.#calls += 1; // an answer on its way is of no use now
      this.#found = null;
      this.#asked = "";
    }
    return this.#found && { ...this.#found, chosen: key };
  }
}

/** The plan and what else it could be, each with the state that it leads to. */
export function choices(found) {
  return [found?.first, ...(found?.rows ?? [])].filter(Boolean);
}

/** The button that asks, then the plan. @param {object | null | undefined} found */
export function onePlanView(found) {
  const reason = found?.problem?.text || found?.none;
  return [
    h(
      "p",
      { class: "mp-sentence soft" },
      "Recomputation, offload, precision, sharding and every parallelism, searched together: full fine-tuning that fits, " +
        "with what to type. ",
      applyButton(FIND, found && !found.done ? "Looking…" : "Find the plan", "Find the plan for these GPUs and data"),
    ),
    found?.text && h("p", { class: "quiet" }, found.text, ". ", found.by && byView(found)),
    reason && h("p", { class: "mp-sentence soft" }, reason),
    found?.first && firstView(found.first, found.chosen),
    ...(found?.rows?.length ? rowsView(found) : []),
  ];
}

function byView({ by, framework }) {
  return h(
    "label",
    { class: "mp-layouts-by" },
    "Run by ",
    h(
      "select",
      { "data-way": `${FIND}-by` },
      by.map(({ value, label }) => h("option", { value, selected: value === framework || null }, label)),
    ),
  );
}

function firstView(first, chosen) {
  return h(
    "div",
    { class: "mp-first stack" },
    h("p", { class: "mp-first-title" }, h("b", null, first.title), " ", useView(first, 0, chosen)),
    h("p", { class: "hint" }, first.method),
    h(
      "dl",
      { class: "mp-first-facts numeric" },
      first.facts.map(({ label, text }) => [h("dt", { class: "hint" }, label), h("dd", null, text)]),
    ),
    first.command &&
      h(
        "details",
        { class: "fold", "data-key": `${FIND}-command`, open: true },
        h("summary", null, `With ${first.by}`),
        h("pre", { class: "listing", tabindex: 0 }, h("code", null, commandParts(first.command))),
      ),
  );
}

function rowsView({ first, rows, chosen }) {
  return [
    h(
      "p",
      { class: "mp-layouts-head hint", "aria-hidden": "true" },
      [first ? "or" : "instead", "memory", "time", "cost"].map((text) => h("span", null, text)),
    ),
    h("ol", { class: "mp-layouts" }, rows.map((row, index) => rowView(row, index + 1, chosen))),
  ];
}

function rowView(row, place, chosen) {
  const isChosen = keyOf(row.state) === chosen;
  return h(
    "li",
    { class: isChosen ? "row mp-layouts-row numeric mp-fits" : "row mp-layouts-row numeric" },
    h("span", { class: "mp-layouts-what" }, row.label, h("span", { class: "mp-advice-note hint" }, row.note)),
    cell("memory ", row.memory),
    cell("time ", row.time),
    cell("cost ", row.cost),
    useView(row, place, chosen),
  );
}

function useView({ state, title, label }, place, chosen) {
  return keyOf(state) === chosen
    ? h("span", { class: "mp-tag" }, "chosen")
    : applyButton(`${FIND}-${place}`, "Use", `Use ${title ?? label}`);
}

function cell(before, text) {
  return h("span", { class: "mp-layouts-cell" }, text && h("span", { class: "mp-layouts-word faint" }, before), text);
}
