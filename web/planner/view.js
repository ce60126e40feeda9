/**
 * The whole planner as a tree: what is baked when the site is built, and what turns live in place.
 *
 * The live element draws the controls once and the parts below them again and again; both come from
 * here, so the baked and the live planner agree.
 */

import { adviceView, commandsView, numbersView, partsList, solvesView, verdictView } from "./answers.js";
import { controlsView } from "./controls.js";
import { barView, timelineView } from "./figures.js";
import { onePlanView } from "./one-plan.js";
import { plansView } from "./side-by-side.js";
import { h, toDom, toHtml } from "../figures/vnode.js";
import { embedView } from "../page/embed.js";
import { fragment, ROOT } from "../page/address.js";
import { bakedStatus } from "./status-line.js";

const STRIP = "strip"; // the answer at the bottom of a narrow screen, while a control moves

/** Parts in order: name, heading, what it needs of a view. */
const PARTS = [
  ["verdict", "", (view) => verdictView(view.verdict, view.facts)],
  ["bar", "", (view) => barView(view.bar)],
  ["more", "", moreView],
  ["plans", "", (view) => plansView(view.plans)],
  ["one-plan", "One plan", (view) => onePlanView(view.onePlan)],
  ["parts", "GPU memory at the peak", partsView],
  ["run", "Time, energy and cost", (view) => [numbersView(view.run), h("p", { class: "quiet" }, view.assumptions.join(" "))]],
  ["advice", "Changes that save memory", (view) => view.advice && adviceView(view)],
  ["solves", "The largest that fits", (view) => view.solves && solvesView(view.solves)],
  ["timeline", "Memory over one step", (view) => timelineView(view.timeline)],
  ["commands", "Commands", (view) => commandsView(view.commands)],
  ["embed", "", (view) => embedView("planner", view.query)],
  [STRIP, "", stripView],
];
const IN_FIGURE = ["verdict", "bar", "more", "embed"];

/** Names of the parts of a figure, or of the whole planner, in order. */
export function partNames(figure) {
  return PARTS.map(([name]) => name).filter((name) => (figure ? IN_FIGURE.includes(name) : name !== "more"));
}

/**
 * The planner.
 * @param {object} view from `unfrozen.planner.view`
 * @param {{live?: boolean, figure?: boolean}} [opts] live: controls can be used; figure: the answer alone, which leads
 *   to the page of the whole
 */
export function memoryPlannerView(view, { live = false, figure = false } = {}) {
  return h(
    "div",
    { class: "mp" },
    controlsView(view, { live, figure }),
    bakedStatus(),
    h("div", { class: "widget-result" }, partNames(figure).filter((name) => name !== STRIP).map((name) => partSlot(name, view))),
    !figure && partSlot(STRIP, view),
  );
}

/** From a figure to all settings: the same plan on the page of the planner. */
function moreView({ state, query, groups }) {
  const labels = new Map(groups.flatMap(({ settings }) => settings.map(({ key, label }) => [key, label])));
  const set = [...labels].filter(([key]) => key in state).map(([, label]) => label.replaceAll("`", ""));
  const href = `${ROOT}planner/${fragment(query)}`;
  return h(
    "p",
    { class: "soft" },
    set.length > 0 && `Also set: ${set.join(", ")}. `,
    h("a", { class: "mp-more", href }, "All settings, every formula, layouts and commands"),
  );
}

function stripView({ verdict, bar }) {
  const room = bar.limit ? ` of ${bar.limit.label.split(": ").at(-1)}` : "";
  return h("p", { class: `numeric mp-verdict-${verdict.kind}`, "aria-hidden": "true" }, h("b", null, verdict.title), ` ${bar.total.text}${room}`);
}

function partsView({ bar, memory }) {
  const note = h("p", { class: "quiet" }, bar.note);
  return [note, partsList(bar.parts), numbersView(memory)];
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
  return [heading && h("h3", { id: `mp-title-${name}`, class: "widget-title" }, heading), content].flat().filter(Boolean);
}

/** Redraws the parts of the planner that changed: what was open stays open, focus stays put. */
export class PlannerParts {
  /**
   * @param {HTMLElement} root holds the drawn parts
   * @param {object} view what they show
   * @param {string[]} names of the parts that are there
   */
  constructor(root, view, names) {
    this.root = root;
    this.printed = new Map(names.map((name) => [name, print(partContent(name, view))]));
  }

  /** Draws the named parts of a view. */
  draw(view, names) {
    for (const name of names) {
      const content = partContent(name, view);
      const html = print(content);
      if (this.printed.get(name) === html) continue;
      this.printed.set(name, html);
      this.#replace(this.root.querySelector(`[data-part="${name}"]`), content);
    }
  }

  #replace(part, content) {
    const open = openFolds(part);
    const focused = part.contains(document.activeElement) ? pathTo(document.activeElement) : "";
    part.replaceChildren(...content.map((node) => toDom(node)));
    reopen(part, open);
    if (focused) (part.querySelector(focused) ?? headingOf(part)).focus({ preventScroll: true });
  }
}

function print(content) {
  return content.map(toHtml).join("");
}

/** The folds that stand open, by key. */
export function openFolds(root) {
  return [...root.querySelectorAll("details[open]")].map(({ dataset }) => dataset.key).filter(Boolean);
}

/** Opens the folds of these keys. */
export function reopen(root, keys) {
  for (const key of keys) {
    const fold = root.querySelector(`details[data-key="${key}"]`);
    if (fold) fold.open = true;
  }
}

/** A selector that finds a control again after its part was redrawn. */
function pathTo(element) {
  const { way, copies, copy } = element.dataset;
  if (way) return `[data-way="${way}"]`;
  if (copies) return `[data-copies="${copies}"]`;
  if (copy) return `[data-copy="${copy}"]`;
  const fold = element.closest("details[data-key]");
  if (element.localName === "summary") return `details[data-key="${fold.dataset.key}"] > summary`;
  return element.classList.contains("scroll-x") ? ".scroll-x" : "h3";
}

function headingOf(part) {
  const heading = part.querySelector("h3") ?? part;
  heading.tabIndex = -1;
  return heading;
}
