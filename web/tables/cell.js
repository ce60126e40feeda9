/**
 * The cells of a table: their text, their value for sorting, and whether a column is numeric. Python computes the
 * numbers; nothing here changes their value.
 */

import { exponential, grouped, typeset } from "../figures/number.js";

/** Factors of units: "350M" sorts below "7B", "900 MB" below "2 GB" and "40 ms" below "1 s". */
const FACTORS = {
  "": 1,
  k: 1e3,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  B: 1e9,
  T: 1e12,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  ns: 1e-9,
  µs: 1e-6,
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  min: 60,
  h: 3600,
  d: 86400,
};
const MINUS = /[−–](?=\d)/;
const QUANTITY =
  /^[~≈<>≤≥±]?\s*[$€£]?\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([^\d\s,.][^\d]{0,15})?$/;
const BLANK = new Set(["", "-", "–", "—", "n/a", "N/A", "NaN", "nan", "None", "null"]);

/** Whether a cell is empty: null, or one of the usual ways to write "no value". */
export function isBlank(cell) {
  return cell === null || cell === undefined || BLANK.has(String(cell).trim());
}

/**
 * Returns the number in a cell in its base unit, or NaN when it is not a quantity.
 * @param {unknown} cell e.g. 3.2, "112.0 GB", "1,136.1", "≈ 30.4 %", "2e-5"
 * @returns {number}
 */
export function quantity(cell) {
  if (typeof cell === "number") return cell;
  if (typeof cell !== "string") return NaN;
  const match = QUANTITY.exec(cell.trim().replace(MINUS, "-"));
  if (!match || !/\d/.test(match[1])) return NaN;
  return Number(match[1].replaceAll(",", "")) * (FACTORS[(match[2] ?? "").trim()] ?? 1);
}

/** Whether every filled cell of a column is a quantity, and there is at least one. */
export function isNumeric(cells) {
  const filled = cells.filter((cell) => !isBlank(cell));
  return filled.length > 0 && filled.every((cell) => !Number.isNaN(quantity(cell)));
}

/** Returns how many decimals the numbers of a column need, at most six. */
export function columnDecimals(cells) {
  let decimals = 0;
  for (const cell of cells) {
    if (typeof cell !== "number" || !Number.isFinite(cell) || isExtreme(cell)) continue;
    const [, fraction = ""] = String(Number(cell.toPrecision(12))).split(".");
    decimals = Math.max(decimals, fraction.length);
  }
  return Math.min(decimals, 6);
}

function isExtreme(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-4 || size >= 1e15);
}

/**
 * Returns the text of a cell. Strings are printed unchanged; numbers get the column's decimals, so that their
 * points align, and commas from 10,000 up.
 * @param {unknown} cell
 * @param {number} decimals from `columnDecimals`
 * @returns {string}
 */
export function cellText(cell, decimals = 0) {
  if (cell === null || cell === undefined) return "–";
  if (typeof cell === "boolean") return cell ? "yes" : "no";
  if (typeof cell !== "number") return String(cell);
  if (!Number.isFinite(cell)) return Number.isNaN(cell) ? "–" : cell > 0 ? "∞" : "−∞";
  return isExtreme(cell) ? exponential(cell, 6) : typeset(grouped(cell.toFixed(decimals)));
}
