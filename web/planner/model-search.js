/**
 * The search for a model: a combobox as the ARIA practices describe it. Typing narrows the list,
 * arrows move, Enter takes, Escape gives up. A name that is not in the list is passed on unchanged.
 *
 * Spelling varies where meaning does not: "llama3.1 8b", "Llama-3.1-8B" and "llama 3.1" are one model,
 * "8b" is no part of "14.8b", and a version tuned on instructions has the tensors of its base.
 */

const PAGE = 8;
const HUB_ID = /^[\w.-]+\/[\w.-]+$/;
const NONE = "No model of the list matches. Type owner/name as on the hub, or paste a config.json.";
const VARIANT = "A model tuned on instructions has the tensors of its base.";
const ELSEWHERE = "Not in the list. Press Enter, and you can ask the hub for its config.json.";

const PIECES = /[a-z]+|\d+(?:\.\d+)*/g;
const VARIANTS = new Set(["instruct", "chat", "it"]);

/** Letters and numbers of a text in turn: "Llama-3.1-8B" → llama, 3.1, 8, b. */
function piecesOf(text) {
  return text.toLowerCase().match(PIECES) ?? [];
}

/**
 * What was typed, ready to be searched for; blanks separate words.
 * @param {string} typed
 * @returns {{words: string[][], variant: boolean}} pieces of each word; whether a word only names
 *   tuning on instructions
 */
export function parseQuery(typed) {
  const words = typed.split(/[\s,]+/).map(piecesOf);
  const rest = words.map((pieces) => pieces.filter((piece) => !VARIANTS.has(piece)));
  const variant = rest.some(({ length }, index) => length < words[index].length);
  return { words: rest.filter(({ length }) => length), variant };
}

/** Whether the pieces of a name hold those of every word, each word's in one stretch. */
export function matchesQuery(name, { words }) {
  const pieces = piecesOf(name);
  return words.every((word) => pieces.some((_, start) => matchesWord(pieces.slice(start, start + word.length), word)));
}

/** The first piece may begin inside a word, the last may be unfinished; numbers begin at their start. */
function matchesWord(pieces, word) {
  return (
    pieces.length === word.length &&
    word.every((piece, index) => {
      const isLast = index === word.length - 1;
      const found = pieces[index];
      if (/\d/.test(piece)) return isLast ? found.startsWith(piece) : found === piece;
      if (index === 0 && isLast) return found.includes(piece);
      return isLast ? found.startsWith(piece) : index === 0 ? found.endsWith(piece) : found === piece;
    })
  );
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
    this.none = root.querySelector(".field-note");
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
    const asked = parseQuery(text);
    for (const option of this.options) option.hidden = !matchesQuery(option.textContent, asked);
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
