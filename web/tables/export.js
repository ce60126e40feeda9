/** A table as text for other programs: TSV for spreadsheets, Markdown for notes, CSV as a file. */

import { isNumeric, quantity } from "./cell.js";

/** A cell for other programs: numbers unrounded, blanks empty. */
function rawText(cell) {
  return cell === null || cell === undefined ? "" : String(cell);
}

function headings({ headers, units }) {
  return headers.map((header, index) =>
    units?.[index] ? `${header} (${units[index]})` : String(header),
  );
}

/**
 * Text that a spreadsheet would run as a formula gets an apostrophe, unless it is a number.
 * Source: OWASP, CSV injection.
 */
function inert(cell) {
  const text = rawText(cell);
  return /^[=+\-@\t\r]/.test(text) && Number.isNaN(quantity(text)) ? `'${text}` : text;
}

/** @param {import("./view.js").Table} table @returns {string} one row a line, tabs between */
export function toTsv(table) {
  const line = (cells) => cells.map((cell) => inert(cell).replace(/[\t\r\n]+/g, " ")).join("\t");
  return [headings(table), ...table.rows].map(line).join("\n");
}

/** @param {import("./view.js").Table} table @returns {string} RFC 4180, CRLF */
export function toCsv(table) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (cells) => cells.map((cell) => quoted(inert(cell))).join(",");
  return [headings(table), ...table.rows].map((row) => `${line(row)}\r\n`).join("");
}

/** @param {import("./view.js").Table} table @returns {string} a pipe table, numbers right */
export function toMarkdown(table) {
  const safe = (cell) =>
    rawText(cell)
      .replace(/[\\|<`*_[\]]/g, "\\$&")
      .replace(/\s*[\r\n]+\s*/g, " ");
  const line = (cells) => `| ${cells.map(safe).join(" | ")} |`;
  const rule = table.headers.map((_, index) =>
    isNumeric(table.rows.map((row) => row[index])) ? "---:" : "---",
  );
  return [line(headings(table)), `| ${rule.join(" | ")} |`, ...table.rows.map(line)].join("\n");
}
