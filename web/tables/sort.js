/** The order of rows when a reader sorts by a column: numbers by value, text by name, blanks last. */

import { isBlank, isNumeric, quantity } from "./cell.js";

const BY_NAME = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/**
 * Rows in the order asked for; the original order when `sort` is null. Stable, never in place.
 * @param {unknown[][]} rows
 * @param {import("./view.js").Sort} sort
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
  return BY_NAME.compare(String(a), String(b));
}

/**
 * The next of the three states of a header button: rising, falling, as given.
 * @param {import("./view.js").Sort} sort the present state
 * @param {number} column the column pressed
 * @returns {import("./view.js").Sort}
 */
export function nextSort(sort, column) {
  if (sort?.column !== column) return { column, direction: "ascending" };
  return sort.direction === "ascending" ? { column, direction: "descending" } : null;
}
