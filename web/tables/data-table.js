/**
 * `<data-table>`: a table that the reader can sort, filter, copy and save.
 *
 * Property `data` is the parsed JSON of the cell contract. Baked tables carry it in a
 * `<script type="application/json" class="data">`; the element reads it when it is upgraded.
 */

import { copyText, fileName, placeName, saveFile, stateView, keepFocus, toolViews } from "../figures/tools.js";
import { tableProblem } from "../schema/check.js";
import { toCsv, toMarkdown, toTsv } from "./export.js";
import { filterView, nextSort, sortedRows, tableView } from "./view.js";
import { toDom } from "../figures/vnode.js";
import { whenNearViewport } from "../page/visibility.js";

/** What is drawn at first; a button draws the rest. More would hold the page, and the way to Stop. */
const FIRST = { rows: 500, cells: 10_000, characters: 200_000 };
const TOOLS = [
  { action: "tsv", label: "Copy", hint: "Copy the table for a spreadsheet" },
  { action: "markdown", label: "Copy as Markdown", hint: "Copy the table as Markdown" },
  { action: "csv", label: "Download CSV", hint: "Save the table as a CSV file" },
];

/**
 * Returns the JSON of a baked figure, or undefined.
 * @param {Element} element
 * @returns {unknown}
 */
export function bakedData(element) {
  const script = element.querySelector(":scope > script.data");
  if (!script) return undefined;
  try {
    return JSON.parse(script.textContent);
  } catch {
    return null;
  }
}

/** Returns how many rows are drawn at first, at least one. */
function firstRows({ headers, rows }) {
  let characters = 0;
  const most = Math.min(FIRST.rows, Math.ceil(FIRST.cells / headers.length));
  const tooLong = rows.slice(0, most).findIndex((row) => (characters += row.join("").length) > FIRST.characters);
  return tooLong < 0 ? most : Math.max(1, tooLong);
}

/** @see module comment */
export class DataTable extends HTMLElement {
  #data;
  #problem = "";
  #sort = null;
  #limit = Infinity;
  /** @type {Map<number, string>} the value that a column must have */
  #wanted = new Map();

  constructor() {
    super();
    this.addEventListener("click", (event) => this.#onClick(event));
    this.addEventListener("change", ({ target }) => this.#filterBy(target));
  }

  connectedCallback() {
    addEventListener("beforeprint", this.#showWhole);
    if (Object.hasOwn(this, "data")) {
      const early = this.data;
      delete this.data;
      this.data = early;
    } else void whenNearViewport(this).then(() => this.#upgrade()); // as printed until then
  }

  disconnectedCallback() {
    removeEventListener("beforeprint", this.#showWhole);
  }

  /** Draws every row: paper has no button that does. */
  #showWhole = () => {
    this.#upgrade();
    if (!this.#problem && this.#data?.rows.length > this.#limit) this.#showAll();
  };

  #upgrade() {
    const baked = this.#data === undefined ? bakedData(this) : undefined;
    if (baked !== undefined) this.data = baked;
  }

  /** The table as parsed JSON; setting it draws the table, or why it cannot be drawn. */
  get data() {
    this.#upgrade();
    return this.#data;
  }

  set data(value) {
    const heads = (table) => JSON.stringify(table?.headers);
    if (heads(value) !== heads(this.#data)) this.#sort = null; // a new run of the same cell keeps the order
    this.#data = value;
    this.#wanted.clear();
    this.#problem = value === undefined || value === null ? "" : tableProblem(value);
    this.#limit = value && !this.#problem ? firstRows(value) : Infinity;
    this.#draw();
  }

  #draw() {
    keepFocus(this, () => this.#replace());
  }

  #replace() {
    if (this.#data === undefined || this.#data === null) {
      this.replaceChildren(toDom(stateView("empty", "No table yet", "Run the cell to fill it.")));
      return;
    }
    const scrolled = this.querySelector(".table-scroll")?.scrollLeft ?? 0;
    const opts = { sort: this.#sort, interactive: true, limit: this.#limit };
    this.replaceChildren(toDom(this.#problem ? stateView("error", "This table could not be drawn", this.#problem) : tableView(this.#shown(), opts)));
    const tools = this.querySelector(".table-tools");
    if (!tools) return;
    tools.append(...this.#tools().map((view) => toDom(view)));
    this.querySelector(".table-scroll").scrollLeft = scrolled;
  }

  #tools() {
    const count = this.#shown().rows.length;
    const all = {
      action: "all",
      label: `Show all ${count} rows`,
      hint: `The first ${this.#limit} are shown`,
    };
    const filters = (this.#data.filters ?? []).filter((column) => column < this.#data.headers.length).map((column) => filterView(this.#data, column, this.#wanted.get(column)));
    return [...filters.filter(Boolean), ...toolViews(count > this.#limit ? [all, ...TOOLS] : TOOLS)];
  }

  /** The table with the rows that pass every filter. */
  #shown() {
    const rows = this.#data.rows.filter((row) => [...this.#wanted].every(([column, value]) => String(row[column]) === value));
    return { ...this.#data, rows };
  }

  #filterBy(select) {
    const column = Number(select.dataset.filter);
    if (select.value) this.#wanted.set(column, select.value);
    else this.#wanted.delete(column);
    this.#draw();
    const { rows } = this.#shown();
    this.#announce(`${rows.length} of ${this.#data.rows.length} rows`);
  }

  #onClick(event) {
    const button = event.target.closest("button");
    if (!button || button.closest("data-table") !== this) return;
    if (button.dataset.column !== undefined) this.#sortBy(Number(button.dataset.column));
    else if (button.dataset.action) void this.#act(button.dataset.action);
  }

  #sortBy(column) {
    this.#sort = nextSort(this.#sort, column);
    this.#draw();
    const order = this.#sort
      ? `by ${this.#data.headers[column]}, ${this.#sort.direction}`
      : "in the original order";
    this.#announce(`Rows ${order}`);
  }

  async #act(action) {
    const shown = this.#shown();
    const table = { ...shown, rows: sortedRows(shown.rows, this.#sort) };
    if (action === "all") {
      this.#showAll();
      this.querySelector(".table-scroll").focus({ preventScroll: true });
    } else if (action === "csv") {
      const name = fileName(String(table.caption ?? "") || placeName(this), "table", "csv");
      saveFile(name, new Blob([toCsv(table)], { type: "text/csv" }));
      this.#announce(`Saved ${name}`);
    } else {
      const isCopied = await copyText(action === "tsv" ? toTsv(table) : toMarkdown(table));
      this.#announce(
        isCopied ? "Copied" : "The browser refused the clipboard; download the CSV instead.",
      );
    }
  }

  #showAll() {
    const { scrollTop } = this.querySelector(".table-scroll");
    this.#limit = Infinity;
    this.#draw();
    this.querySelector(".table-scroll").scrollTop = scrollTop;
  }

  #announce(text) {
    const status = this.querySelector(".figure-message");
    if (status) status.textContent = text;
  }
}

if (!customElements.get("data-table")) customElements.define("data-table", DataTable);
