/**
 * `<method-decision>`: full fine-tuning, LoRA, QLoRA or a prompt. It shows what
 * `unfrozen.method_decision` says of a task and computes no number itself.
 *
 *   edit, link, flip ─▶ Python: decide ─▶ controls, answer, methods        at once
 *                        └─ 150 ms without an edit ─▶ Python: reversals ─▶ what would flip it,
 *                                                                          and the address
 *
 * It asks the planner's interpreter. The newest state wins; a state that cannot be read puts its
 * reason at its control and leaves the last good answer, marked as such.
 */

import { planner } from "../python/planner.js";
import { copyText } from "../figures/file.js";
import { editOf, syncControls } from "./controls.js";
import { methodDecisionView, resultView } from "./view.js";
import { followHistory, fragment, queryOfAddress, remember } from "../planner/address.js";
import { openFolds, reopen } from "../planner/parts.js";
import { statusOf } from "../planner/status.js";
import { toDom } from "../figures/vnode.js";

const NAME = "decision";
const QUIET_MS = 150;
const COPIED_MS = 2000;

export class MethodDecision extends HTMLElement {
  #view = null; // what is shown: the last good view
  #controls = null; // what the controls show: the newest view, good or not
  #state = {}; // where the reader is, answered or not
  #query = ""; // the address of what is shown
  #asked = 0;
  #computed = false;
  #quiet = 0;

  /** The view that is drawn, as Python gave it. */
  get view() {
    return this.#view;
  }

  async connectedCallback() {
    if (this.dataset.standing) return;
    this.dataset.standing = "quiet";
    try {
      this.#begin(await (await fetch("decision.json")).json());
    } catch {
      this.querySelector(".mp-status").textContent = statusOf({ phase: "absent" }, {}).text;
    }
  }

  /** Comes alive with the view that was baked. */
  #begin(view) {
    this.#view = this.#controls = view;
    this.#state = view.state;
    this.#query = view.query;
    const open = openFolds(this);
    this.querySelector(".md").replaceWith(toDom(methodDecisionView(view, { live: true })));
    this.#settleLinks(open);
    this.#furnish();
    this.#listen();
    this.#say();
    const query = queryOfAddress(NAME);
    if (query !== null) this.scrollIntoView();
    if (query) this.#show(query);
  }

  /** What only a live element has: a line that speaks, and a way to try again. */
  #furnish() {
    this.words = document.createElement("span");
    this.retry = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: "Try again" });
    this.querySelector(".mp-status").replaceChildren(this.words, this.retry);
    this.voice = Object.assign(document.createElement("p"), { className: "visually-hidden" });
    this.voice.setAttribute("role", "status");
    this.append(this.voice);
  }

  #listen() {
    for (const kind of ["input", "change"]) {
      this.addEventListener(kind, ({ target }) => this.#edit(editOf(target, this.#controls.counts)));
    }
    this.addEventListener("click", ({ target }) => this.#onClick(target.closest("button, a.md-planner")));
    planner.addEventListener("status", () => this.#say());
    followHistory((query) => query !== this.#query && this.#show(query), NAME);
  }

  #onClick(pressed) {
    if (!pressed) return;
    const { flip, copies } = pressed.dataset;
    if (pressed === this.retry) this.#go(this.#state);
    else if (flip) {
      const [key, index] = flip.split(" ");
      this.#go(this.#view.flips[key][index].state);
    } else if (copies) void this.#copy(pressed, copies);
    else if (pressed.matches("a")) document.querySelector("memory-planner")?.scrollIntoView();
  }

  #edit(change) {
    if (change) this.#go({ ...this.#state, ...change });
  }

  /** Shows a state the reader made. */
  #go(state) {
    this.#state = state;
    void this.#ask(state, (before, query) => remember(before, query, NAME));
  }

  /** Shows a state that an address carries, which stands in it already. */
  #show(query) {
    this.#query = query;
    void this.#ask(query, () => {});
  }

  /** @param {(before: string, query: string) => void} keep puts the state into the history */
  async #ask(given, keep) {
    const call = ++this.#asked;
    clearTimeout(this.#quiet);
    planner.drop("reversals");
    const answer = planner.ask("decide", given);
    this.#say();
    const view = await answer;
    if (!view) return;
    if (!view.problem) this.#draw({ ...this.#view, ...view }, true);
    if (call !== this.#asked) return; // a newer edit is on its way; controls already stand there
    this.#state = view.state ?? this.#state;
    this.#controls = view;
    this.#sync();
    this.#say();
    if (view.problem) this.voice.textContent = `${view.problem.key}: ${view.problem.text}`;
    else this.#quiet = setTimeout(() => void this.#settle(call, view, keep), QUIET_MS);
  }

  /** The reader pauses: what takes longer is computed, and the address follows. */
  async #settle(call, view, keep) {
    keep(this.#query, view.query);
    this.#query = view.query;
    this.voice.textContent = `${view.title} ${view.text}`;
    const found = await planner.ask("reversals", view.state);
    if (found && call === this.#asked) this.#draw({ ...this.#view, ...found }, false);
  }

  /** `waits`: what would flip it is still that of the answer before. */
  #draw(view, waits) {
    this.#computed = true;
    this.#view = view;
    this.toggleAttribute("data-waits", waits);
    const result = this.querySelector(".md-result");
    const open = openFolds(result);
    const hadFocus = result.contains(document.activeElement);
    result.replaceChildren(...resultView(view, { live: true }).map((node) => toDom(node)));
    this.#settleLinks(open);
    if (hadFocus) this.#focusTitle();
  }

  #focusTitle() {
    const title = this.querySelector(".md-title");
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
  }

  /** Folds that stood open, and links that carry their plan: the baked ones lead to the planner. */
  #settleLinks(open) {
    reopen(this, open);
    for (const link of this.querySelectorAll("a.md-planner")) link.href = fragment(link.dataset.query);
  }

  #sync() {
    const { activeElement } = document;
    const isTyping = this.contains(activeElement) && activeElement.matches('input[type="text"]');
    syncControls(this, this.#controls, { skip: isTyping ? activeElement : null });
  }

  /** Says where the answer comes from, and what is missing. */
  #say() {
    const problem = this.#controls.problem && { ...this.#controls.problem, placed: Boolean(this.querySelector(`#md-error-${CSS.escape(this.#controls.problem.key)}`)) };
    const about = { changed: this.#asked > 0, computed: this.#computed, problem, noun: "answer" };
    const { standing, text } = statusOf(planner.status, about);
    this.dataset.standing = standing;
    this.retry.hidden = standing !== "failed";
    if (this.words.textContent !== text) this.words.textContent = text;
    if (standing === "failed") this.voice.textContent = text;
  }

  async #copy(pressed, key) {
    const source = this.querySelector(`[data-copy="${key}"]`);
    const isCopied = await copyText(source.textContent);
    if (!isCopied) getSelection().selectAllChildren(source);
    const [label, said] = [pressed.textContent, isCopied ? "Copied" : "Selected: copy it with the keyboard"];
    this.voice.textContent = said;
    pressed.textContent = said;
    setTimeout(() => (pressed.textContent = label), COPIED_MS);
  }
}

customElements.define("method-decision", MethodDecision);
