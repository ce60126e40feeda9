/**
 * The search for a model: a combobox as the ARIA practices describe it. Typing narrows the list,
 * arrows move, Enter takes, Escape gives up. A name that is not in the list is handed on as it is.
 */

import { means, wanted } from "./model-names.js";

const PAGE = 8;
const HUB_ID = /^[\w.-]+\/[\w.-]+$/;
const NONE = "No model of the list matches. Type owner/name as on the hub, or paste a config.json.";
const VARIANT = "Trained further on instructions, a model has the tensors of its base.";
const ELSEWHERE = "Not in the list. Press Enter, and you can ask the hub for its config.json.";

export class ModelSearch {
  /**
   * @param {HTMLElement} root holds the input and its list
   * @param {(name: string) => void} choose called with a hub id, listed or not
   */
  constructor(root, choose) {
    this.input = root.querySelector("[role=combobox]");
    this.list = root.querySelector("[role=listbox]");
    this.options = [...this.list.children];
    this.none = root.querySelector(".mp-none");
    this.choose = choose;
    this.kept = this.input.value;
    this.input.addEventListener("focus", () => this.#begin());
    this.input.addEventListener("click", () => this.#clicked());
    this.input.addEventListener("input", () => this.#filter(this.input.value));
    this.input.addEventListener("keydown", (event) => this.#onKey(event));
    this.input.addEventListener("blur", () => this.#leave());
    this.list.addEventListener("pointerdown", (event) => event.preventDefault()); // the input keeps the focus
    this.list.addEventListener("click", ({ target }) => {
      const option = target.closest("[role=option]");
      if (option) this.#take(option.dataset.value);
    });
  }

  #begin() {
    this.kept = this.input.value;
    this.input.select();
  }

  /** A click into the name of a chosen model begins a new search, as the first focus does. */
  #clicked() {
    const rests = this.list.hidden && this.input.value === this.kept;
    // A browser puts its caret there after this event, and a key may come before the timer does.
    if (rests) this.caret = setTimeout(() => this.#select());
    this.#open();
  }

  #select() {
    this.caret = clearTimeout(this.caret);
    if (this.input.value === this.kept) this.input.select();
  }

  #open() {
    if (this.list.hidden) this.#filter("");
  }

  /** Shows what every word that was typed can mean. */
  #filter(text) {
    const asked = wanted(text);
    for (const option of this.options) option.hidden = !means(option.textContent, asked);
    this.list.hidden = this.#shown().length === 0;
    if (this.list.hidden) this.none.textContent = HUB_ID.test(text.trim()) ? ELSEWHERE : NONE;
    else this.none.textContent = asked.variant && asked.words.length ? VARIANT : "";
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.#mark(text ? this.#shown()[0] : this.options.find((option) => option.dataset.value === this.kept));
  }

  #shown() {
    return this.options.filter((option) => !option.hidden);
  }

  #mark(option) {
    this.marked = option ?? null;
    for (const each of this.options) each.setAttribute("aria-selected", String(each === option));
    if (!option) return this.input.removeAttribute("aria-activedescendant");
    this.input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  #onKey(event) {
    if (this.caret) this.#select();
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: PAGE, PageUp: -PAGE };
    if (event.key in moves) {
      event.preventDefault();
      if (this.list.hidden) return this.#open();
      const shown = this.#shown();
      const next = shown.indexOf(this.marked) + moves[event.key];
      this.#mark(shown[Math.max(0, Math.min(shown.length - 1, next))]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.#take(!this.list.hidden && this.marked ? this.marked.dataset.value : this.input.value.trim());
    } else if (event.key === "Escape" && !(this.list.hidden && this.input.value === this.kept)) {
      event.preventDefault();
      this.input.value = this.kept;
      this.input.select();
      this.#close();
    }
  }

  #take(name) {
    if (name) {
      this.input.value = name;
      this.kept = name;
      if (document.activeElement === this.input) this.input.select(); // what is typed next replaces it
      this.choose(name);
    }
    this.#close();
  }

  /** Leaving takes a name that looks like one of the hub; anything else was a search. */
  #leave() {
    const typed = this.input.value.trim();
    if (typed !== this.kept && HUB_ID.test(typed)) this.#take(typed);
    else this.input.value = this.kept;
    this.#close();
  }

  #close() {
    this.list.hidden = true;
    this.none.textContent = "";
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  /** The model was set from elsewhere. */
  set value(name) {
    this.kept = name;
    if (document.activeElement !== this.input) this.input.value = name;
  }
}
