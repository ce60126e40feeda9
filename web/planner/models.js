/**
 * The search for a model: a combobox as the ARIA practices describe it. Typing narrows the list,
 * arrows move, Enter takes, Escape gives up. A name that is not in the list is handed on as it is.
 */

const PAGE = 8;
const HUB_ID = /^[\w.-]+\/[\w.-]+$/;
const NONE = "No model of the list matches. Type owner/name as on the hub, or paste a config.json.";
const ELSEWHERE = "Not in the list. Press Enter for the way to its config.json.";

/** Whether a name holds what was typed; a size does not begin within another: 8b is not in 14.8b. */
function holds(name, word) {
  let at = name.indexOf(word);
  while (at > 0 && /\d/.test(word[0]) && /[\d.]/.test(name[at - 1])) at = name.indexOf(word, at + 1);
  return at >= 0;
}

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
    this.input.addEventListener("click", () => this.#open());
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

  #open() {
    if (this.list.hidden) this.#filter("");
  }

  /** Shows what contains every word that was typed. */
  #filter(text) {
    const words = text.toLowerCase().split(/[\s,]+/).filter(Boolean);
    for (const option of this.options) {
      const name = option.textContent.toLowerCase();
      option.hidden = !words.every((word) => holds(name, word));
    }
    this.list.hidden = this.#shown().length === 0;
    this.none.textContent = !this.list.hidden ? "" : HUB_ID.test(text.trim()) ? ELSEWHERE : NONE;
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
    } else if (event.key === "Escape" && !this.list.hidden) {
      event.preventDefault();
      this.input.value = this.kept;
      this.#close();
    }
  }

  #take(name) {
    if (name) {
      this.input.value = name;
      this.kept = name;
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
