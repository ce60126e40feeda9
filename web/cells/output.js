/**
 * The output of a cell: printed text, value, error, table, plots and a note on their origin.
 *
 * Printed output and live output are the same elements. A run replaces them one by one as results arrive and removes at its
 * end what it did not produce, while the whole keeps its height: nothing below moves until the run has ended, and nothing
 * at all when the results are the same.
 */

import { TextStream } from "./stream.js";
import { make, textButton } from "../figures/tools.js";
import { check, read } from "../schema/check.js";
import { shapes } from "../schema/schema.js";

const MAX_LENGTH = 32_000_000; // characters, as in `unfrozen.publish`

// From top to bottom.
const SLOTS = [
  ".cell-message", ".cell-stdout", ".cell-overflow", ".cell-error", ".cell-value",
  "data-table", "data-plot", ".cell-note",
];
const FULL_BYTES = 200_000;
const DRAW_EVERY_MS = 50;

export class CellOutput {
  /**
   * @param {HTMLElement} box the `.cell-output` element
   * @param {() => void} [onForged] called for a table or plots that our Python would have refused
   */
  constructor(box, onForged = () => {}) {
    this.box = box;
    this.onForged = onForged;
    this.stream = null;
    this.fresh = new Set(); // slots the current run has filled
    this.shown = new Map(); // tag → how many tables or plots the current run has published last
    this.waiting = new Map(); // "table" | "plots" → JSON text not yet drawn
    this.drawnAt = 0;
    this.drawCostMs = 0;
    this.timer = 0;
  }

  /** Begins a run: fixes the height, sets aria-busy, keeps the last output. */
  begin() {
    this.fresh.clear();
    this.shown.clear();
    this.waiting.clear();
    this.stream = null;
    this.box.style.minHeight = `${this.box.getBoundingClientRect().height}px`;
    this.box.setAttribute("aria-busy", "true");
    this.showMessage("");
  }

  /** Appends printed text. */
  write(text) {
    if (!this.stream) {
      const pre = this.#slot(".cell-stdout", "pre");
      pre.style.minHeight = `${pre.getBoundingClientRect().height}px`;
      this.stream = new TextStream(pre);
    }
    this.fresh.add(".cell-stdout");
    this.stream.append(text);
    if (this.stream.text.length >= FULL_BYTES) this.#overflow("Output is shown up to 200 kB.");
  }

  /** All text printed by this run. */
  get stdout() {
    return this.stream?.text ?? "";
  }

  /** Draws a table ("table") or plots ("plots") from JSON; only the newest if drawing is slow. */
  publish(kind, json) {
    this.waiting.set(kind, json);
    if (!this.timer) this.#drawLater();
  }

  /** Draws after a pause of four times what drawing took, with the browser's part of it: the page has to hear Stop. */
  #drawLater() {
    const pause = Math.max(DRAW_EVERY_MS, 4 * this.drawCostMs) - (performance.now() - this.drawnAt);
    this.timer = setTimeout(() => (pause > 0 ? this.#drawLater() : this.#draw()), Math.max(0, pause));
  }

  /**
   * Ends a run: shows its value and error, removes what it did not produce.
   * @param {import("../python/python-client.js").Outcome} outcome
   * @param {string} note on the origin of the output
   * @returns {Promise<void>} settles when everything is on screen
   */
  async finish(outcome, note) {
    this.#draw();
    if (outcome.notice) this.#overflow(outcome.notice);
    if (outcome.value !== null) this.#fill(".cell-value", "pre", outcome.value);
    if (outcome.error) this.#error(outcome.error);
    const keep = outcome.ok ? [] : ["data-table", "data-plot"]; // an error does not tear them down
    for (const slot of SLOTS.slice(1, -1)) if (!this.fresh.has(slot)) this.#clear(slot, keep);
    for (const [tag, count] of this.shown) this.#removeAfter(tag, count);
    this.#fill(".cell-note", "p", note);
    delete this.box.dataset.baked;
    for (const pre of this.box.querySelectorAll(".cell-stdout, .cell-value")) {
      pre.style.minHeight = "";
      const hidden = pre.scrollHeight > pre.clientHeight + 1 || pre.scrollWidth > pre.clientWidth + 1;
      if (hidden) pre.tabIndex = 0;
    }
    this.box.style.minHeight = "";
    this.box.removeAttribute("aria-busy");
    await nextPaint();
  }

  /** Changes only the note below the output. */
  note(text) {
    this.#fill(".cell-note", "p", text);
  }

  /** Shows a message above the output, with one button; an empty text removes it. */
  showMessage(text, action = "", onAction = () => {}) {
    this.box.querySelector(":scope > .cell-message")?.remove();
    if (!text) return;
    const message = this.#slot(".cell-message", "p");
    message.replaceChildren(make("span", {}, text));
    if (action) message.append(" ", textButton("", action, onAction));
  }

  /** Returns what is shown now, for `restore`. */
  snapshot() {
    const texts = [".cell-stdout", ".cell-value", ".cell-note"].map((slot) => [
      slot,
      this.box.querySelector(`:scope > ${slot}`)?.textContent ?? null,
    ]);
    const data = (tag) => [...this.box.querySelectorAll(`:scope > ${tag}`)].map((e) => e.data);
    return { texts: new Map(texts), table: data("data-table"), plots: data("data-plot") };
  }

  /** Shows a snapshot. */
  restore({ texts, table, plots }) {
    this.showMessage("");
    for (const slot of [".cell-overflow", ".cell-error"]) this.#clear(slot);
    for (const [slot, text] of texts) {
      if (text === null) this.#clear(slot);
      else this.#fill(slot, slot === ".cell-note" ? "p" : "pre", text);
    }
    this.#show("data-table", table);
    this.#show("data-plot", plots);
    this.#removeAfter("data-table", table.length);
    this.#removeAfter("data-plot", plots.length);
  }

  #draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    const start = performance.now();
    const { table, plots } = Object.fromEntries(this.waiting);
    this.waiting.clear();
    if (table !== undefined) this.#showChecked("data-table", readTable(table));
    if (plots !== undefined) this.#showChecked("data-plot", readPlots(plots));
    const note = () => Object.assign(this, { drawnAt: performance.now(), drawCostMs: performance.now() - start });
    note();
    requestAnimationFrame(() => setTimeout(note)); // laid out and painted
  }

  #showChecked(tag, items) {
    if (items) this.#show(tag, items);
    else this.onForged();
  }

  /**
   * Shows one element of `tag` for each item of data; existing elements are reused. Those in surplus stay until the run
   * ends: a cell may publish its plots one after another.
   */
  #show(tag, items) {
    this.fresh.add(tag);
    this.shown.set(tag, items.length);
    const there = [...this.box.querySelectorAll(`:scope > ${tag}`)];
    items.forEach((data, index) => {
      const element = there[index] ?? this.#place(document.createElement(tag), tag);
      element.classList.remove("is-stale");
      element.data = data;
    });
  }

  #removeAfter(tag, count) {
    for (const surplus of [...this.box.querySelectorAll(`:scope > ${tag}`)].slice(count)) surplus.remove();
  }

  #error(error) {
    this.#clear(".cell-error");
    this.fresh.add(".cell-error");
    this.#place(errorView(error), ".cell-error");
  }

  #overflow(text) {
    this.#fill(".cell-overflow", "p", text);
  }

  #fill(slot, tag, text) {
    this.fresh.add(slot);
    this.#slot(slot, tag).textContent = text;
  }

  #clear(slot, keep = []) {
    for (const element of this.box.querySelectorAll(`:scope > ${slot}`)) {
      if (keep.includes(slot)) element.classList.add("is-stale");
      else element.remove();
    }
  }

  #slot(slot, tag) {
    const there = this.box.querySelector(`:scope > ${slot}`);
    if (there) return there;
    return this.#place(make(tag, { className: slot.slice(1) }), slot);
  }

  /** Inserts an element of a slot before the first element of a later one. */
  #place(element, slot) {
    const later = SLOTS.slice(SLOTS.indexOf(slot) + 1).map((name) => `:scope > ${name}`);
    this.box.insertBefore(element, later.length ? this.box.querySelector(later.join(",")) : null);
    return element;
  }
}

/** Resolves once the changes have been painted; soon in a hidden page, which paints nothing. */
function nextPaint() {
  return new Promise((resolve) => {
    setTimeout(resolve, 100);
    requestAnimationFrame(() => requestAnimationFrame(resolve));
  });
}

// A cell may have monkeypatched `unfrozen.publish` in its own Python: its output is checked again here.

/** @param {string} json @returns {object[] | null} the table, alone in a list; null where the schema refuses it */
function readTable(json) {
  const table = checked(json, shapes().table);
  return table && [table];
}

/** @param {string} json @returns {object[] | null} all plots; null where the schema refuses one */
function readPlots(json) {
  return checked(json, shapes().plots);
}

function checked(json, shape) {
  const { value, problem } = read(json, MAX_LENGTH);
  return problem ? null : check(shape, value).value;
}

// A cell's error is its traceback as text, with each line of a cell a button that leads there.
const FRAME = /^(\s*File "<([^">]+)>", )(line (\d+))(.*)$/;

/**
 * @param {{type: string, traceback: string, line: number | null}} error
 * @returns {HTMLElement} fires a bubbling "cell-jump" event with detail {cell, line}
 */
function errorView(error) {
  const pre = make("pre", { className: "cell-traceback", tabIndex: 0 });
  const lines = error.traceback.replace(/\n$/, "").split("\n");
  lines.forEach((line, index) => {
    pre.append(...lineView(line), index < lines.length - 1 ? "\n" : "");
  });
  return make("div", { className: "cell-error" }, pre);
}

function lineView(line) {
  const frame = FRAME.exec(line);
  if (frame) {
    const [, before, cell, text, number, after] = frame;
    return [before, jumpButton(text, cell, Number(number)), after];
  }
  return /^\S/.test(line) && !line.startsWith("Traceback") ? [make("strong", {}, line)] : [line];
}

function jumpButton(text, cell, line) {
  const button = textButton("button-link cell-jump", text, () => {
    button.dispatchEvent(new CustomEvent("cell-jump", { bubbles: true, detail: { cell, line } }));
  });
  button.title = "Go to this line";
  return button;
}
