/** Redraws the planner's parts: only what changed; what was open stays open, focus stays put. */

import { PART_NAMES, partContent } from "./view.js";
import { toDom, toHtml } from "../figures/vnode.js";

export class PlannerParts {
  /**
   * @param {HTMLElement} root holds the drawn parts
   * @param {object} view what they show
   */
  constructor(root, view) {
    this.root = root;
    this.printed = new Map(PART_NAMES.map((name) => [name, print(partContent(name, view))]));
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
    const held = part.contains(document.activeElement) ? pathTo(document.activeElement) : "";
    part.replaceChildren(...content.map((node) => toDom(node)));
    reopen(part, open);
    if (held) (part.querySelector(held) ?? headingOf(part)).focus({ preventScroll: true });
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
  return element.classList.contains("mp-scroll") ? ".mp-scroll" : "h3";
}

function headingOf(part) {
  const heading = part.querySelector("h3") ?? part;
  heading.tabIndex = -1;
  return heading;
}
