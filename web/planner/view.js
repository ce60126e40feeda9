/**
 * The whole planner as a tree: what is baked when the site is built, and what turns live in place.
 *
 * The live element draws the controls once and the parts below them again and again; both come from
 * here, so the baked and the live planner agree.
 */

import { adviceView, commandsView, numbersView, partsList, solvesView, verdictView } from "./answers.js";
import { controlsView } from "./controls.js";
import { barView, timelineView } from "./figures.js";
import { layoutsView } from "./layouts.js";
import { h } from "../figures/vnode.js";

const BAKED = "Computed when this page was built.";

/** Parts in order: name, heading, what it needs of a view. */
const PARTS = [
  ["verdict", "", (view) => verdictView(view.verdict, view.facts)],
  ["bar", "", (view) => barView(view.bar)],
  ["parts", "What fills the card at the peak", partsView],
  ["timeline", "The step, instant by instant", (view) => timelineView(view.timeline)],
  ["advice", "What to change", (view) => view.advice && adviceView(view)],
  ["solves", "Turned around: the edge of what fits", (view) => view.solves && solvesView(view.solves)],
  ["layouts", "Shared out: the fastest layout", (view) => layoutsView(view.layouts)],
  ["run", "How long it takes", (view) => [numbersView(view.run), assumptionsView(view.assumptions)]],
  ["commands", "Run it, or plan it elsewhere", (view) => commandsView(view.commands)],
];

/** Names of the parts, in order. */
export const PART_NAMES = PARTS.map(([name]) => name);

/**
 * The whole planner.
 * @param {object} view from `unfrozen.planner.view`
 * @param {{live?: boolean}} [opts] live: controls can be used
 */
export function memoryPlannerView(view, { live = false } = {}) {
  return h(
    "div",
    { class: "mp" },
    controlsView(view, { live }),
    bakedStatus(),
    h("div", { class: "mp-result" }, PARTS.map(([name]) => partSlot(name, view))),
  );
}

/** Where the numbers come from until a script is here; without scripts, also what is missing. */
export function bakedStatus() {
  return h("p", { class: "mp-status" }, BAKED, " ", h("span", { class: "no-script" }, "The controls need JavaScript."));
}

function partsView({ bar, memory }) {
  const note = h("p", { class: "mp-quiet" }, bar.note);
  return [note, partsList(bar.parts), numbersView(memory, "mp-numbers-memory")];
}

function partSlot(name, view) {
  return h("section", { class: `mp-slot mp-slot-${name}`, "data-part": name, ...labelled(name) }, partContent(name, view));
}

function labelled(name) {
  const [, heading] = PARTS.find(([known]) => known === name);
  return heading ? { "aria-labelledby": `mp-title-${name}` } : {};
}

/** What stands in one part: its heading and its content; nothing where the view lacks it. */
export function partContent(name, view) {
  const [, heading, draw] = PARTS.find(([known]) => known === name);
  const content = draw(view);
  if (!content) return [];
  return [heading && h("h3", { id: `mp-title-${name}`, class: "mp-title" }, heading), content].flat().filter(Boolean);
}

function assumptionsView(sentences) {
  return h("p", { class: "mp-quiet" }, sentences.join(" "));
}
