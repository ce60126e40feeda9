/**
 * The list of runs: of this machine, of this page, recordings and opened files, as rows; what stands in their columns; which are shown, in
 * which order. Pure functions.
 */

import { formatBytes, formatDate, formatDelta, formatDuration, formatLoss, formatPercent } from "../figures/number.js";

/**
 * @typedef {object} Row
 * @property {string} key
 * @property {"live" | "page" | "recording" | "file"} kind
 * @property {string} id
 * @property {string} name
 * @property {string} status
 * @property {string} note why a run cannot be read, or what a recording is
 * @typedef {{text: string, note?: string, tone?: string}} Cell
 */

const AS_PREDICTED = 0.0005; // closer to it than is worth a number

/** @returns {Row[]} those of this machine first, in the order in which they are given */
export function rowsOf(runs, own, recordings, files = []) {
  const plain = { note: "", model: "" };
  return [
    ...runs.map((run) => ({
      ...plain, ...run, key: `live:${run.id || run.problem}`, kind: "live", name: run.id, note: run.problem ?? "",
    })),
    ...own.map(({ id, title, over, end, path }) => ({
      ...plain, key: `page:${id}`, kind: "page", id, name: title, status: over ? (end?.status ?? "stopped") : "running",
      tool: "this page", share: path?.at(-1),
    })),
    ...recordings.map(({ name, title, description, run }) => ({
      ...plain, ...run, key: `recording:${name}`, kind: "recording", id: name, name: title, status: "recorded", note: description ?? "",
    })),
    ...files.map((name) => ({ ...plain, key: `file:${name}`, kind: "file", id: name, name, status: "opened" })),
  ];
}

/**
 * The columns after the name: `value` is what rows are sorted by (null stands last), `cell` what is read. Those that begin with
 * the largest value are `falling`.
 * @type {Record<string, {label: string, value: (row: Row) => number | string | null, cell?: (row: Row) => Cell, falling?: boolean, usual?: boolean}>}
 */
export const COLUMNS = {
  status: { label: "State", usual: true, value: ({ status }) => status },
  model: { label: "Model", usual: true, value: ({ model }) => model || null },
  data: { label: "Data", value: ({ data }) => data ?? null },
  progress: { label: "Step", usual: true, falling: true, value: ({ step, problem }) => (problem ? null : (step ?? null)), cell: stepCell },
  task: { label: "Task loss", usual: true, value: (row) => lossOf(row.task), cell: (row) => scoreCell(row.task, row.share?.task) },
  general: { label: "General loss", usual: true, value: (row) => lossOf(row.general), cell: (row) => scoreCell(row.general, row.share?.general) },
  peak: { label: "Peak memory", usual: true, falling: true, value: ({ peak_bytes: bytes }) => bytes ?? null, cell: peakCell },
  started: { label: "Started", usual: true, falling: true, value: ({ started }) => started || null, cell: ({ started }) => ({ text: formatDate(started) }) },
  took: { label: "Took", falling: true, value: tookOf, cell: (row) => ({ text: formatDuration(tookOf(row)) }) },
  tool: { label: "Logged by", value: ({ kind, tool }) => tool ?? (kind === "live" ? "train" : null) },
};

/** @returns {Cell} what a row has in a column; without text where it has nothing */
export function cellOf(column, row) {
  const { value, cell } = COLUMNS[column];
  const found = value(row);
  if (found === null && !(cell && (row.share || row[column]))) return { text: "" }; // a loss may be NaN
  return cell ? cell(row) : { text: String(found) };
}

function tookOf({ started, updated }) {
  return started && updated >= started ? updated - started : null;
}

function stepCell({ step, steps }) {
  return { text: steps ? `${step} of ${steps}` : `${step}`, note: step < steps ? formatPercent(step / steps) : "" };
}

function lossOf(score) {
  const loss = score ? Number(score.loss) : NaN;
  return Number.isNaN(loss) ? null : loss;
}

/** Returns a held-out loss, its change since the first evaluation, and how many answers are right. */
function scoreCell(score, share) {
  if (!score) return share === undefined ? { text: "" } : { text: "", note: `${formatPercent(share)} right` };
  const change = Number(score.delta);
  const right = score.of ? `${score.right} of ${score.of} right` : "";
  const note = [score.delta !== undefined && formatDelta(change), right].filter(Boolean).join(", ");
  return { text: formatLoss(Number(score.loss)), note, tone: change > 0 || score.delta === "NaN" ? "bad" : change < 0 ? "good" : "" };
}

function peakCell({ peak_bytes: bytes, predicted_bytes: predicted }) {
  if (!predicted) return { text: formatBytes(bytes) };
  const error = bytes / predicted - 1;
  const note = Math.abs(error) < AS_PREDICTED ? "as predicted" : `${formatPercent(Math.abs(error))} ${error < 0 ? "below" : "above"} predicted`;
  return { text: formatBytes(bytes), note };
}

/**
 * @param {Row[]} rows
 * @param {{text: string, status: string}} wanted every word of `text` must stand in the row
 */
export function filterRows(rows, { text, status }) {
  const words = fold(text).split(/\s+/).filter(Boolean);
  return rows.filter((row) => (!status || row.status === status) && (words.length === 0 || containsAll(row, words)));
}

const texts = new WeakMap(); // of rows, all that they say: a letter of a search looks at thousands

function containsAll(row, words) {
  const { id, name, status, model, data = "", tool = "", note } = row;
  if (!texts.has(row)) texts.set(row, fold([id, name, status, model, data, tool, note].join("\n")));
  return words.every((word) => texts.get(row).includes(word));
}

function fold(text) {
  return text.normalize("NFKC").toLowerCase();
}

/** @param {Row[]} rows @param {string} column of COLUMNS, or "name" @param {boolean} falling */
export function sortRows(rows, column, falling) {
  const value = column === "name" ? ({ name }) => name : COLUMNS[column].value;
  const sign = falling ? -1 : 1;
  const keyed = rows.map((row) => [value(row), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number") return sign * (a - b);
    return sign * inOrder(a, b);
  });
  return keyed.map(([, row]) => row);
}

let collator = null; // takes milliseconds to make

function inOrder(a, b) {
  collator ??= new Intl.Collator("en", { numeric: true });
  return collator.compare(a, b);
}

/** @param {Row[]} rows @returns {[string, number][]} each value of a field with its number of rows, the most frequent first */
export function countsOf(rows, valuesOf) {
  const counts = new Map();
  for (const value of rows.flatMap(valuesOf)) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || inOrder(a[0], b[0]));
}
