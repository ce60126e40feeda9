/**
 * Files that a reader opens or drops: logs, and what `unfrozen data --json` says of data before they are trained. Files of
 * other tools are converted by the planner's Python, which runs no reader code.
 */

import { planner } from "../python/planner-client.js";
import { readEvent } from "../schema/event-log.js";

const HEAD_BYTES = 64;
const LOG_BYTES = 64 * 1024 * 1024; // as `unfrozen.imported` bounds them
const REPORT_BYTES = 8_000_000;
const REPORT_ROWS = 16;
const ROW_TOKENS = 1024;

/** The logs that were opened in this page: until it is left they are listed and compared like other runs. */
class OpenedFiles extends EventTarget {
  /** @type {Map<string, File>} by the names under which they are listed */
  all = new Map();

  /** @param {File} file @returns {string} its name */
  add(file) {
    let name = file.name;
    for (let number = 2; this.all.has(name); number += 1) name = `${file.name} (${number})`;
    this.all.set(name, file);
    this.dispatchEvent(new Event("change"));
    return name;
  }
}

export const openedFiles = new OpenedFiles();

/** The files that can be opened, for a reader who chose another one. */
export const EXPECTED =
  "Choose an events.jsonl, a trainer_state.json of Hugging Face Trainer, a table of metrics (.csv), or what " +
  "unfrozen data --json prints (.json); unfrozen import reads event files of TensorBoard";

/**
 * Returns what `unfrozen data --json` has said of data, as the event of a run that would train them; null for another file.
 * @param {File} file
 * @returns {Promise<object | null>} rejects with a message for the reader
 */
export async function readDataReport(file) {
  if (!file.name.endsWith(".json") || file.size > REPORT_BYTES) return null;
  const { file: data, model, held_out: held, ...report } = readJson(await file.text()) ?? {};
  if (typeof data !== "string" || typeof model !== "string" || !report.counts) return null;
  const rows = { ...report, first: shortRows(report.first ?? []), how: `${report.how}; ${data}, as ${model} reads it` };
  if (held) rows.held_out = held;
  if (report.scored) {
    const { hardest, easiest } = report.scored;
    rows.scored = { ...report.scored, hardest: shortRows(hardest), easiest: shortRows(easiest) };
  }
  const head = { v: 1, run: file.name, seq: 0, att: 0, t: file.lastModified / 1000, rt: 0, kind: "rows", step: 0 };
  const { value, problem } = readEvent({ ...head, ...rows });
  if (problem) throw new Error(`${file.name} is no answer of unfrozen data --json: ${problem}`);
  return value;
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Returns the first rows, and of each no more tokens than are drawn. */
function shortRows(rows) {
  if (!Array.isArray(rows)) return rows;
  return rows.slice(0, REPORT_ROWS).map((row) => {
    if (!Array.isArray(row?.parts)) return row;
    let [room, lost] = [ROW_TOKENS, 0];
    const parts = row.parts.map(({ as, texts = [] }) => {
      const shown = texts.slice(0, Math.max(0, room));
      room -= shown.length;
      lost += texts.length - shown.length;
      return { as, texts: shown };
    });
    return { ...row, parts: parts.filter(({ texts }) => texts.length), after: (row.after ?? 0) + lost };
  });
}

/**
 * Whether a file is another tool's, judged by its first bytes; Python checks the rest.
 * @param {File} file
 */
export async function isOtherFormat(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (file.name.endsWith(".csv")) return true;
  return /^\s*\{/.test(head) && file.name.endsWith(".json") && !head.startsWith('{"v":');
}

/**
 * Converts the log of another tool.
 * @param {File} file
 * @param {(text: string) => void} onProgress gets how much of Python is loaded, at the first file
 * @param {AbortSignal} signal stops between two answers
 * @returns {Promise<Blob>} rejects with a message for the reader
 */
export async function convertLog(file, onProgress, signal) {
  if (file.size > LOG_BYTES) throw new Error(`${file.name} is too large for this page: unfrozen import reads it`);
  const showLoading = () => onProgress(loading(planner.status));
  planner.addEventListener("status", showLoading, { signal });
  const given = { name: file.name, modified: file.lastModified / 1000, data: await base64(file) };
  const reading = await ask("imported.page.import_file", given, signal);
  const parts = [];
  for (let answer = { more: true }; answer.more; ) {
    answer = await ask("imported.page.import_lines", reading, signal);
    parts.push(answer.lines);
  }
  return new Blob(parts);
}

async function ask(name, value, signal) {
  const drop = () => planner.drop(name);
  signal.throwIfAborted();
  signal.addEventListener("abort", drop);
  const answer = await planner.ask(name, value);
  signal.removeEventListener("abort", drop);
  signal.throwIfAborted();
  if (answer === null) throw new Error(planner.status.reason || "Another file was opened instead");
  if (answer.problem) throw new Error(answer.problem);
  return answer;
}

function loading({ phase, starting, progress }) {
  if (phase !== "loading") return "";
  return starting ? "Python starts." : `Python loads: ${Math.floor(progress * 100)}%.`;
}

function base64(blob) {
  return new Promise((settle, refuse) => {
    const reader = new FileReader();
    reader.onload = () => settle(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => refuse(new Error(`It cannot be read (${reader.error.message})`));
    reader.readAsDataURL(blob);
  });
}

const MOST_FILES = 5000; // of a folder
const DEEPEST = 8;

/** Kinds of log files, the most complete first. */
const KINDS = [/^events\.jsonl$/, /^trainer_state\.json$/, /^metrics\.csv$/];

/** Takes what is dropped on an element. @param {HTMLElement} element @param {(files: File[]) => void} take */
export function takeDrops(element, take) {
  const mark = (isOver) => (event) => {
    event.preventDefault();
    element.toggleAttribute("data-drop", isOver);
  };
  element.addEventListener("dragover", mark(true));
  element.addEventListener("dragleave", mark(false));
  element.addEventListener("drop", mark(false));
  element.addEventListener("drop", ({ dataTransfer }) => void readDrop(dataTransfer).then((files) => files.length && take(files)));
}

/**
 * @param {DataTransfer} transfer of a drop, valid only during its event
 * @returns {Promise<File[]>} the dropped files, in place of a folder its newest log
 */
async function readDrop(transfer) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = [];
  for (const entry of entries) await collectFiles(entry, found, DEEPEST);
  const log = (await newestLog(found)) ?? (found.length ? await opened(found[0]) : null); // the view shows that it holds no run
  return log ? [log] : files;
}

async function collectFiles(entry, found, deep) {
  if (found.length >= MOST_FILES) return;
  if (entry.isFile) found.push(entry);
  else if (deep > 0) for (const inner of await entriesOf(entry)) await collectFiles(inner, found, deep - 1);
}

/** Returns all entries of a folder; its reader returns some at a time. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (let some = [null]; some.length > 0 && all.length < MOST_FILES; all.push(...some)) {
    some = await new Promise((settle) => reader.readEntries(settle, () => settle([])));
  }
  return all;
}

/** Returns the newest file of the most complete kind; null for none. */
async function newestLog(entries) {
  for (const kind of KINDS) {
    const files = await Promise.all(entries.filter(({ name }) => kind.test(name)).map(opened));
    const [newest] = files.filter(Boolean).sort((a, b) => b.lastModified - a.lastModified);
    if (newest) return newest;
  }
  return null;
}

function opened(entry) {
  return new Promise((settle) => entry.file(settle, () => settle(null)));
}
