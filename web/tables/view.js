/**
 * Draws a table: data in, a tree of nodes out. Used when the site is built and again in the page, also after a reader
 * has sorted it: numbers by value, text by name, blanks last.
 */

import { cellText, columnDecimals, isBlank, isNumeric, quantity } from "./cell.js";
import { h } from "../figures/vnode.js";

/** @typedef {{headers: string[], rows: unknown[][], align?: string[], units?: string[], caption?: string, filters?: number[]}} Table */
/** @typedef {{column: number, direction: "ascending" | "descending"} | null} Sort */

/** Row names up to this many characters stay on one line. */
const SHORT_NAME = 24;
const ALIGNMENTS = ["left", "right", "center"];
let collator = null; // takes milliseconds to make
const NEXT_STATE = { none: "ascending", ascending: "descending", descending: "the original order" };

/**
 * Returns the table as nodes.
 * @param {Table} data checked by the schema
 * @param {{sort?: Sort, interactive?: boolean, limit?: number}} [opts]
 *   `interactive` makes headers buttons; `limit` draws at most that many rows
 * @returns {import("../figures/vnode.js").VNode}
 */
export function tableView(data, opts = {}) {
  const columns = describeColumns(data);
  const rows = sortedRows(data.rows, opts.sort ?? null).slice(0, opts.limit ?? Infinity);
  const label = data.caption ? String(data.caption) : `Table: ${data.headers.join(", ")}`;
  return h(
    "div",
    { class: "table-frame" },
    h(
      "div",
      { class: "table-scroll", tabindex: 0, role: "region", "aria-label": label },
      h(
        "table",
        { class: "table" },
        data.caption ? h("caption", { class: "table-caption" }, data.caption) : null,
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            columns.map((column) => headerCell(column, opts)),
          ),
        ),
        h("tbody", null, bodyRows(rows, columns)),
      ),
    ),
    h("div", { class: "row table-tools" }),
  );
}

function describeColumns(data) {
  return data.headers.map((header, index) => {
    const cells = data.rows.map((row) => row[index]);
    const numeric = isNumeric(cells);
    const align = data.align?.[index];
    return {
      index,
      header: String(header),
      unit: data.units?.[index] ? String(data.units[index]) : "",
      decimals: columnDecimals(cells),
      align: ALIGNMENTS.includes(align) ? align : numeric ? "right" : "left",
      names: index === 0 && !numeric && data.headers.length > 1,
      numeric,
      hasExponents: numeric && cells.some((cell) => /e-\d/.test(cellText(cell))),
    };
  });
}

function columnClass(column) {
  const number = column.numeric ? " cell-number" : "";
  return `cell-${column.align}${number}${column.hasExponents ? " cell-exponent" : ""}`;
}

function headerCell(column, { interactive, sort }) {
  const state = sort?.column === column.index ? sort.direction : "none";
  const unit = column.unit ? [" ", h("span", { class: "table-unit" }, `(${column.unit})`)] : null;
  const attrs = { scope: "col", class: columnClass(column) };
  if (!interactive) return h("th", attrs, column.header, unit);
  return h(
    "th",
    { ...attrs, "aria-sort": state },
    h(
      "button",
      {
        type: "button",
        class: "table-sort",
        "data-column": column.index,
        title: `Sort by ${column.header || "this column"}: ${NEXT_STATE[state]}`,
      },
      column.header || h("span", { class: "visually-hidden" }, `Column ${column.index + 1}`),
      unit,
    ),
  );
}

function bodyRows(rows, columns) {
  if (rows.length === 0) {
    const span = Math.max(1, columns.length);
    return h("tr", null, h("td", { class: "table-empty", colspan: span }, "No rows yet"));
  }
  return rows.map((row) =>
    h(
      "tr",
      null,
      columns.map((column) => {
        const text = cellText(row[column.index], column.decimals);
        const attrs = { class: columnClass(column) };
        if (!column.names) return h("td", attrs, text);
        const short = text.length <= SHORT_NAME ? " cell-short" : "";
        return h("th", { scope: "row", class: attrs.class + short }, text);
      }),
    ),
  );
}

/**
 * Returns the choice of one value of a column, or of all; null where there is one for all rows.
 * @param {Table} data
 * @param {number} column
 * @param {string} [chosen]
 */
export function filterView(data, column, chosen = "") {
  const values = [...new Set(data.rows.map((row) => String(row[column])))].toSorted(byName);
  const option = (value, label) => h("option", { value, selected: value === chosen ? "" : undefined }, label);
  const name = data.headers[column];
  const options = [option("", `${name}: all`), ...values.map((value) => option(value, value))];
  if (values.length < 2) return null;
  return h("select", { class: "field-input", "aria-label": name, "data-filter": column, "data-action": `filter-${column}` }, options);
}

/**
 * Returns the rows sorted, stably and not in place; in the original order when `sort` is null.
 * @param {unknown[][]} rows
 * @param {Sort} sort
 * @returns {unknown[][]}
 */
export function sortedRows(rows, sort) {
  if (!sort) return rows;
  const { column } = sort;
  const sign = sort.direction === "descending" ? -1 : 1;
  const compare = isNumeric(rows.map((row) => row[column])) ? byQuantity : byName;
  return rows.toSorted((left, right) => {
    const [a, b] = [left[column], right[column]];
    if (isBlank(a) || isBlank(b)) return Number(isBlank(a)) - Number(isBlank(b));
    return sign * compare(a, b);
  });
}

function byQuantity(a, b) {
  return quantity(a) - quantity(b);
}

function byName(a, b) {
  collator ??= new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  return collator.compare(String(a), String(b));
}

/**
 * Returns the next of the three states of a header button: ascending, descending, null.
 * @param {Sort} sort the present state
 * @param {number} column the column pressed
 * @returns {Sort}
 */
export function nextSort(sort, column) {
  if (sort?.column !== column) return { column, direction: "ascending" };
  return sort.direction === "ascending" ? { column, direction: "descending" } : null;
}
