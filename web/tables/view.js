/**
 * Draws a table: data in, a tree of nodes out. Used when the site is built and again in the page.
 */

import { describe, stateView } from "../figures/tools.js";
import { cellText, columnDecimals, isNumeric } from "./cell.js";
import { sortedRows } from "./sort.js";
import { h } from "../figures/vnode.js";

/** @typedef {{headers: string[], rows: unknown[][], align?: string[], units?: string[], caption?: string}} Table */
/** @typedef {{column: number, direction: "ascending" | "descending"} | null} Sort */

/** Row names up to this many characters stay on one line. */
const SHORT_NAME = 24;
const ALIGNMENTS = ["left", "right", "center"];
const NEXT_STATE = { none: "ascending", ascending: "descending", descending: "the original order" };

/**
 * What is wrong with a value meant as a table, or null when nothing is.
 * @param {unknown} data
 * @returns {string | null} one sentence with the value, the bound and the remedy
 */
export function tableProblem(data) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) {
    return `A table is an object {"headers": […], "rows": [[…], …]}, not ${describe(data)}.`;
  }
  if (!Array.isArray(data.headers))
    return `"headers" must be a list, not ${describe(data.headers)}.`;
  if (!Array.isArray(data.rows))
    return `"rows" must be a list of lists, not ${describe(data.rows)}.`;
  const width = data.headers.length;
  for (const [index, row] of data.rows.entries()) {
    if (!Array.isArray(row))
      return `Row ${index + 1} must be a list of cells, not ${describe(row)}.`;
    if (row.length !== width) {
      return `Row ${index + 1} has ${row.length} cells but there are ${width} headers; make them equal.`;
    }
    const nested = row.findIndex((cell) => cell !== null && typeof cell === "object");
    if (nested >= 0) {
      return `Row ${index + 1}, column ${nested + 1} holds ${describe(row[nested])}; a cell is text or a number.`;
    }
  }
  return null;
}

/**
 * The table as nodes. Wrong data gives the drawn error state, no rows the drawn empty state.
 * @param {Table} data
 * @param {{sort?: Sort, interactive?: boolean, limit?: number}} [opts]
 *   `interactive` makes headers buttons; `limit` draws at most that many rows
 * @returns {import("../figures/vnode.js").VNode}
 */
export function tableView(data, opts = {}) {
  const problem = tableProblem(data);
  if (problem) return stateView("error", "This table could not be drawn", problem);
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
    const asked = data.align?.[index];
    return {
      index,
      header: String(header),
      unit: data.units?.[index] ? String(data.units[index]) : "",
      decimals: columnDecimals(cells),
      align: ALIGNMENTS.includes(asked) ? asked : numeric ? "right" : "left",
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
