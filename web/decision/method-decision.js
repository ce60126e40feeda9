/**
 * `<method-decision>`: full fine-tuning, LoRA, QLoRA or a prompt. It shows what
 * `unfrozen.decision` answers for a task: which method first, and later what would flip that.
 */

import { toDom, toHtml } from "../figures/vnode.js";
import { fragment } from "../page/address.js";
import { StateElement } from "../planner/state-element.js";
import { openFolds, reopen } from "../planner/view.js";
import { editOf, methodDecisionView, resultView, syncControls } from "./view.js";

export class MethodDecision extends StateElement {
  static questions = { name: "decision", first: "decision.decide", later: "decision.reversals", typing: 'input[type="text"]', noun: "answer" };

  #drawn = ""; // what the result says

  build() {
    const open = openFolds(this);
    this.querySelector(".md").replaceWith(toDom(methodDecisionView(this.shown, this.#opts)));
    this.#settleLinks(open);
  }

  get #opts() {
    return { live: true, figure: this.hasAttribute("data-figure") };
  }

  listen() {
    for (const kind of ["input", "change"]) {
      this.addEventListener(kind, ({ target }) => this.edit(editOf(target, this.controls.counts)));
    }
    this.addEventListener("click", ({ target }) => this.#onClick(target.closest("button, a.md-planner")));
  }

  /** Nothing is replaced that says the same: a click that leaves a field would be lost with its target. */
  draw() {
    const result = this.querySelector(".widget-result");
    const content = resultView(this.shown, this.#opts);
    const html = content.map(toHtml).join("");
    if (html === this.#drawn) return;
    this.#drawn = html;
    const open = openFolds(result);
    const hadFocus = result.contains(document.activeElement);
    result.replaceChildren(...content.map((node) => toDom(node)));
    this.#settleLinks(open);
    if (hadFocus) this.#focusTitle();
  }

  sync(skip) {
    syncControls(this, this.controls, { skip });
  }

  controlOf({ key }) {
    return this.querySelector(`#md-error-${CSS.escape(key)}`);
  }

  announcement({ title, text }) {
    return `${title} ${text}`;
  }

  #onClick(pressed) {
    if (!pressed) return;
    const { flip, copies } = pressed.dataset;
    if (flip) {
      const [key, index] = flip.split(" ");
      this.go(this.shown.flips[key][index].state);
    } else if (copies) void this.copy(pressed, copies);
    else if (pressed.matches("a")) document.querySelector("memory-planner")?.scrollIntoView();
  }

  #focusTitle() {
    const title = this.querySelector(".verdict-title");
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
  }

  /** Folds that stood open, and links that carry their plan: the baked ones lead to the planner. */
  #settleLinks(open) {
    reopen(this, open);
    for (const link of this.querySelectorAll("a.md-planner")) link.href = fragment(link.dataset.query);
  }
}

customElements.define("method-decision", MethodDecision);
