/**
 * `<memory-planner>`: will it fit, and what to change. It shows what `unfrozen.memory_planner` says
 * of a state and computes no number itself.
 *
 *   edit, link, Apply ─▶ Python: glance ─▶ controls, verdict, figures      at once
 *                         └─ 150 ms without an edit ─▶ Python: ways ─▶ advice, inverse answers,
 *                                                                      and the address
 *
 * The newest state wins: one that waits is replaced, never queued. A state that cannot be planned
 * puts its reason at its control and leaves the last good figures, marked as such.
 */

import { planner } from "../python/planner.js";
import { copyText } from "../figures/file.js";
import { memoryPlannerView, PART_NAMES } from "./view.js";
import { stateOf } from "./answers.js";
import { followHistory, queryOfAddress, remember } from "./address.js";
import { editOf, field, syncControls } from "./form.js";
import { ModelSearch } from "./models.js";
import { openFolds, PlannerParts, reopen } from "./parts.js";
import { statusOf } from "./status.js";
import { toDom } from "../figures/vnode.js";

const QUIET_MS = 150;
const COPIED_MS = 2000;
const MOST_FILE_BYTES = 200_001; // Python refuses half of that; more need not be read to say so
const LATER = ["advice", "solves"]; // parts that come with `ways`
const AT_ONCE = PART_NAMES.filter((name) => !LATER.includes(name));

export class MemoryPlanner extends HTMLElement {
  #view = null; // what the figures show: the last good view
  #controls = null; // what the controls show: the newest view, good or not
  #state = {}; // where the reader is, answered or not
  #query = ""; // the address of what is shown
  #asked = 0;
  #computed = false;
  #quiet = 0;
  #parts = null;

  /** The view that is drawn, as Python gave it. */
  get view() {
    return this.#view;
  }

  async connectedCallback() {
    if (this.dataset.standing) return;
    this.dataset.standing = "quiet";
    try {
      this.#begin(await (await fetch("planner.json")).json());
    } catch {
      this.querySelector(".mp-status").textContent = statusOf({ phase: "absent" }, {}).text;
    }
  }

  /** Comes alive with the view that was baked. */
  #begin(view) {
    this.#view = this.#controls = view;
    this.#state = this.#view.state;
    this.#query = this.#view.query;
    this.#build();
    this.#listen();
    this.#say();
    const query = queryOfAddress();
    if (query !== null) this.scrollIntoView();
    if (query) this.#show(query);
  }

  /** The same tree as the baked one, with controls that work. */
  #build() {
    const open = openFolds(this);
    this.querySelector(".mp").replaceWith(toDom(memoryPlannerView(this.#view, { live: true })));
    reopen(this, open);
    this.#parts = new PlannerParts(this, this.#view);
    this.words = document.createElement("span");
    this.retry = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: "Try again" });
    this.querySelector(".mp-status").replaceChildren(this.words, this.retry);
    this.voice = Object.assign(document.createElement("p"), { className: "visually-hidden" });
    this.voice.setAttribute("role", "status");
    this.append(this.voice);
    this.search = new ModelSearch(this, (name) => this.#edit({ model: name, config: "" }));
  }

  #listen() {
    for (const kind of ["input", "change"]) {
      this.addEventListener(kind, ({ target }) => this.#edit(editOf(target, this.#controls.sliders)));
    }
    this.addEventListener("click", ({ target }) => this.#onClick(target.closest("button")));
    this.addEventListener("dragover", (event) => this.#onDrag(event, true));
    this.addEventListener("dragleave", (event) => this.#onDrag(event, false));
    this.addEventListener("drop", (event) => void this.#onDrop(event));
    planner.addEventListener("status", () => this.#say());
    followHistory((query) => query !== this.#query && this.#show(query));
  }

  #onClick(pressed) {
    if (!pressed) return;
    const { preset, unit, way, copies } = pressed.dataset;
    if (pressed === this.retry) this.#go(this.#state);
    else if (preset) this.#choose(pressed, this.#controls.presets.find(({ key }) => key === preset).state);
    else if (unit) this.#choose(pressed, { ...this.#state, unit });
    else if (way) this.#go(stateOf(way, this.#view));
    else if (copies) void this.#copy(pressed, copies);
  }

  /** One button of a row: it shows at once that it was chosen, whatever Python takes. */
  #choose(pressed, state) {
    for (const each of pressed.parentElement.children) each.setAttribute("aria-pressed", String(each === pressed));
    this.#go(state);
  }

  #edit(change) {
    if (change) this.#go({ ...this.#state, ...change });
  }

  /** Shows a state the reader made. */
  #go(state) {
    this.#state = state;
    void this.#ask(state, remember);
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
    planner.drop("ways");
    const answer = planner.ask("glance", given);
    this.#say();
    const view = await answer;
    if (!view) return;
    if (!view.problem) this.#draw(view);
    if (call !== this.#asked) return; // a newer edit is on its way; controls already stand there
    this.#state = view.state;
    this.#controls = view;
    this.#sync();
    this.#say();
    if (view.problem) this.voice.textContent = `${view.problem.key}: ${view.problem.text}`;
    else this.#quiet = setTimeout(() => void this.#settle(call, view, keep), QUIET_MS);
  }

  #draw(view) {
    this.#computed = true;
    this.#view = { ...this.#view, ...view };
    this.toggleAttribute("data-waits", true);
    this.#parts.draw(this.#view, AT_ONCE);
  }

  #sync() {
    const { activeElement } = document;
    const isTyping = this.contains(activeElement) && activeElement.matches("input:not([type=checkbox]), textarea");
    syncControls(this, this.#controls, { skip: isTyping ? activeElement : null });
    this.search.value = this.#controls.config ? "" : this.#controls.model;
  }

  /** The reader pauses: what takes longer is computed, and the address follows. */
  async #settle(call, view, keep) {
    keep(this.#query, view.query);
    this.#query = view.query;
    this.voice.textContent = `${view.verdict.title} ${view.verdict.text}`;
    const ways = await planner.ask("ways", view.state);
    if (!ways || call !== this.#asked) return;
    this.#view = { ...this.#view, ...ways };
    this.#parts.draw(this.#view, LATER);
    this.toggleAttribute("data-waits", false);
  }

  /** Says where the figures come from, and what is missing. */
  #say() {
    const problem = this.#controls.problem && { ...this.#controls.problem, placed: Boolean(field(this, this.#controls.problem.control)) };
    const about = { changed: this.#asked > 0, computed: this.#computed, problem };
    const { standing, text } = statusOf(planner.status, about);
    this.dataset.standing = standing;
    this.retry.hidden = standing !== "failed";
    if (this.words.textContent !== text) this.words.textContent = text;
    if (standing === "failed") this.voice.textContent = text;
  }

  async #copy(pressed, name) {
    const source = this.querySelector(`[data-copy="${name}"]`);
    const isCopied = await copyText(source.textContent);
    if (!isCopied) getSelection().selectAllChildren(source);
    const [label, said] = [pressed.textContent, isCopied ? "Copied" : "Selected: copy it with the keyboard"];
    this.voice.textContent = said;
    pressed.textContent = said;
    setTimeout(() => (pressed.textContent = label), COPIED_MS);
  }

  #onDrag(event, isOver) {
    event.preventDefault();
    this.toggleAttribute("data-drop", isOver);
  }

  async #onDrop(event) {
    this.#onDrag(event, false);
    const [file] = event.dataTransfer.files;
    const text = file ? await file.slice(0, MOST_FILE_BYTES).text() : event.dataTransfer.getData("text");
    if (!text) return;
    field(this, "config").value = text;
    this.#edit({ config: text });
  }
}

customElements.define("memory-planner", MemoryPlanner);
