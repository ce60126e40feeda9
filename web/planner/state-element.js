/**
 * An element that shows what Python answers for a state, and computes no number itself.
 *
 *   edit, link ─▶ Python: `first` ─▶ controls and answer                  at once
 *                  │  └─ loads still: `baked` ─▶ what was computed when the site was built, if it was
 *                  └─ 150 ms without an edit ─▶ Python: `later` ─▶ the rest, and the address
 *
 * The newest state wins: one that waits is replaced, never queued. Until it is answered the element has `data-asks`, and
 * the verdict of the state before is withdrawn. A state that cannot be read puts its reason at its control and leaves the
 * last good answer, marked as such.
 *
 * A subclass may have `baked`: a state's outline that needs no Python. It has in `static questions` its `name` in the address, the questions it asks `first` and
 * `later`, the controls (`typing`) that keep their text while the reader is in them, and the `noun`
 * of its answer. It implements `build`, `listen`, `draw` ("first" or "later"), `sync` (its controls
 * but one), `controlOf` a problem, and the `announcement` of an answer.
 */

import { copyText, make, textButton } from "../figures/tools.js";
import { planner } from "../python/planner-client.js";
import { followHistory, isAddressed, queryOfAddress, remember } from "../page/address.js";
import { SITE } from "../page/site.js";
import { whenApproached } from "../page/visibility.js";
import { statusOf } from "./status-line.js";

const QUIET_MS = 150;
const COPIED_MS = 2000;

export class StateElement extends HTMLElement {
  shown = null; // the last good view
  controls = null; // the newest view, good or not: what the controls show
  state = {}; // where the reader is, answered or not
  #query = ""; // the address of what is shown
  #asked = 0;
  #answered = Promise.resolve();
  #computed = false;
  #quiet = 0;

  /** The view that is drawn, as Python gave it. */
  get view() {
    return this.shown;
  }

  async connectedCallback() {
    if (this.dataset.standing) return;
    this.dataset.standing = "quiet";
    try {
      this.#begin(await (await fetch(new URL(`${this.#questions.name}.json`, SITE))).json());
    } catch {
      this.querySelector(".widget-status").textContent = statusOf({ phase: "absent" }, {}).text;
    }
  }

  get #questions() {
    return this.constructor.questions;
  }

  /** Comes alive with the view that was baked. */
  #begin(view) {
    this.shown = this.controls = view;
    this.state = view.state;
    this.#query = view.query;
    this.build();
    this.#addStatus();
    this.listen();
    planner.addEventListener("status", () => this.#updateStatus());
    followHistory((query) => query !== this.#query && this.#show(query), this.#questions.name);
    this.#updateStatus();
    const query = queryOfAddress(this.#questions.name);
    if (isAddressed(this.#questions.name)) this.scrollIntoView();
    if (query) this.#show(query);
    else void whenApproached(this).then(() => planner.prepare());
  }

  /** What only a live element has: a status line, a button to try again, and a live region. */
  #addStatus() {
    this.status = document.createElement("span");
    this.retry = textButton("button", "Try again", () => this.go(this.state));
    this.querySelector(".widget-status").replaceChildren(this.status, this.retry);
    this.announcer = this.appendChild(make("p", { className: "visually-hidden", role: "status" }));
  }

  /** Changes the state as the reader did; nothing for no change. */
  edit(change) {
    if (change) this.go({ ...this.state, ...change }, this.#typing());
  }

  /**
   * Shows a state the reader made.
   * @param {object | string} state or its query
   * @param {Element | null} typing the field that it comes from: what is chosen or opened replaces what stands there
   */
  go(state, typing = null) {
    void this.#ask(state, (before, query) => remember(before, query, this.#questions.name), typing);
  }

  /** Shows a state that an address carries, which stands in it already. */
  #show(query) {
    this.#query = query;
    void this.#ask(query, () => {});
  }

  /**
   * @param {object | string} given the state, or its query: what is edited before Python answers is edited in it
   * @param {(before: string, query: string) => void} keep puts the state into the history
   * @param {Element | null} [typing] the field the reader types into: it is left as it is
   */
  async #ask(given, keep, typing = null) {
    const call = ++this.#asked;
    this.toggleAttribute("data-asks", true);
    this.toggleAttribute("data-baked", false);
    this.state = typeof given === "string" ? Object.fromEntries(new URLSearchParams(given)) : given;
    clearTimeout(this.#quiet);
    planner.drop(this.#questions.later);
    this.#answered = planner.ask(this.#questions.first, given);
    this.#updateStatus();
    if (planner.status.phase !== "ready") void this.#drawBaked(call);
    const view = await this.#answered;
    if (!view) return;
    if (!view.problem) this.#draw(view, "first");
    if (call !== this.#asked) return; // a newer edit is on its way; controls already stand there
    this.toggleAttribute("data-asks", false);
    this.toggleAttribute("data-baked", false);
    this.state = view.state ?? this.state;
    this.controls = view;
    this.sync(typing && this.#typing());
    this.#updateStatus();
    if (view.problem) this.announcer.textContent = `${view.problem.label ?? view.problem.key}: ${view.problem.text}`;
    this.#quiet = setTimeout(() => void this.#settle(call, view, keep), QUIET_MS);
  }

  /** Draws what was baked of the newest state, until Python answers. */
  async #drawBaked(call) {
    const view = await this.baked?.(this.state);
    if (!view || call !== this.#asked || !this.hasAttribute("data-asks")) return;
    this.toggleAttribute("data-baked", true);
    this.shown = { ...this.shown, ...view };
    this.draw("baked");
    this.#updateStatus();
    this.announcer.textContent = this.announcement(view);
  }

  /** Returns the last good state, once Python has answered the newest edit. */
  async settled() {
    for (let answered = null; answered !== this.#answered; await answered) answered = this.#answered;
    return this.shown.state;
  }

  /** The reader pauses: what takes longer is computed for the last good state, and the address follows. */
  async #settle(call, view, keep) {
    if (!view.problem) {
      keep(this.#query, view.query);
      this.#query = view.query;
      this.announcer.textContent = this.announcement(view);
    }
    if (!this.hasAttribute("data-waits")) return;
    const rest = await planner.ask(this.#questions.later, this.shown.state);
    if (rest && call === this.#asked) this.#draw(rest, "later");
  }

  /** After `first`, what comes `later` is still that of the answer before. */
  #draw(view, when) {
    this.#computed = true;
    this.shown = { ...this.shown, ...view };
    this.toggleAttribute("data-waits", when === "first");
    this.draw(when);
  }

  #typing() {
    const { activeElement } = document;
    return this.contains(activeElement) && activeElement.matches(this.#questions.typing) ? activeElement : null;
  }

  /** Shows where the answer comes from, and what is missing. */
  #updateStatus() {
    const { problem } = this.controls;
    const baked = this.hasAttribute("data-baked");
    const about = { changed: this.#asked > 0, computed: this.#computed, baked, noun: this.#questions.noun };
    about.problem = problem && { ...problem, placed: Boolean(this.controlOf(problem)) };
    const { standing, text } = statusOf(planner.status, about);
    this.dataset.standing = standing;
    this.retry.hidden = standing !== "failed";
    if (this.status.textContent !== text) this.status.textContent = text;
    if (standing === "failed") this.announcer.textContent = text;
  }

  /** Copies the text of a key, or selects it where that is not allowed; the button says which. */
  async copy(pressed, key) {
    const source = this.querySelector(`[data-copy="${key}"]`);
    const isCopied = await copyText(source.textContent);
    if (!isCopied) getSelection().selectAllChildren(source);
    const [label, report] = [pressed.textContent, isCopied ? "Copied" : "Selected: copy it with the keyboard"];
    this.announcer.textContent = report;
    pressed.textContent = report;
    setTimeout(() => (pressed.textContent = label), COPIED_MS);
  }
}
