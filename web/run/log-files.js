/**
 * Files that a reader opens or drops: logs, and what `unfrozen data --json` says of data before they are trained. Files of
 * other tools are converted by the planner's Python, which runs no reader code, in pieces: between two pieces it answers other
 * questions, and the reader can stop.
 */

import { planner } from "../python/planner-client.js";
import { readEvent } from "../schema/event-log.js";

const HEAD_BYTES = 64;
const PIECE_BYTES = 512 * 1024;
const REPORT_BYTES = 8_000_000;
const REPORT_ROWS = 16;
const ROW_TOKENS = 1024;

/** The logs that were opened in this page: until it is left they are listed and compared like other runs. */
class OpenedFiles extends EventTarget {
  /** @type {Map<string, File[]>} by the names under which they are listed */
  all = new Map();

  /** @param {File[]} files more than one are event files of one run @returns {string} its name */
  add(files) {
    const plain = files.length > 1 ? `${files[0].name} and ${files.length - 1} more` : files[0].name;
    let name = plain;
    for (let number = 2; this.all.has(name); number += 1) name = `${plain} (${number})`;
    this.all.set(name, files);
    this.dispatchEvent(new Event("change"));
    return name;
  }
}

export const openedFiles = new OpenedFiles();

/** The files that can be opened, for a reader who chose another one. */
export const EXPECTED =
  "Choose an events.jsonl, a trainer_state.json of Hugging Face Trainer, event files of TensorBoard " +
  "(events.out.tfevents.…), a table of metrics (.csv), or what " +
  "unfrozen data --json prints (.json)";

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
  if (head.includes("brain.Event:") || /tfevents|\.csv$/.test(file.name)) return true;
  return /^\s*\{/.test(head) && file.name.endsWith(".json") && !head.startsWith('{"v":');
}

/**
 * Converts the files of a run of another tool to a log.
 * @param {File[]} files of one run
 * @param {(text: string) => void} onProgress gets how much has been read; Python is loaded at the first file
 * @param {AbortSignal} signal stops between two pieces
 * @returns {Promise<Blob>} rejects with a message for the reader
 */
export async function convertLog(files, onProgress, signal) {
  const showLoading = () => onProgress(loading(planner.status));
  planner.addEventListener("status", showLoading, { signal });
  const given = files.map(({ name, lastModified }) => ({ name, modified: lastModified / 1000 }));
  const reading = await ask("imported.page.import_files", { files: given }, signal);
  planner.removeEventListener("status", showLoading);
  await read(reading, files, onProgress, signal);
  const parts = [];
  for (let answer = { more: true }; answer.more; ) {
    answer = await ask("imported.page.import_lines", { import: reading.import }, signal);
    parts.push(answer.lines);
  }
  return new Blob(parts);
}

async function read({ import: number, order }, files, onProgress, signal) {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const file of order.map((place) => files[place])) {
    let at = 0;
    do {
      const piece = file.slice(at, at + PIECE_BYTES);
      at += PIECE_BYTES;
      await ask("imported.page.import_piece", { import: number, data: await base64(piece), last: at >= file.size }, signal);
      done += piece.size;
      onProgress(`${Math.floor((100 * done) / Math.max(1, total))}% of it is read.`);
    } while (at < file.size);
  }
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
const KINDS = [/^events\.jsonl$/, /tfevents/, /^trainer_state\.json$/, /^metrics\.csv$/];

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
 * @returns {Promise<File[]>} the files of one run in a folder; the dropped files, where none is a folder
 */
async function readDrop(transfer) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = [];
  for (const entry of entries) await collectFiles(entry, found, DEEPEST);
  const run = await newestRun(found);
  if (run.length || !found.length) return run.length ? run : files;
  return [await opened(found[0])].filter(Boolean).map(({ file }) => file); // the view shows that it holds no run
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

/** Returns the newest file of the most complete kind; of TensorBoard all event files of its folder. */
async function newestRun(entries) {
  for (const kind of KINDS) {
    const files = await Promise.all(entries.filter(({ name }) => kind.test(name)).map(opened));
    const there = files.filter(Boolean).sort((a, b) => b.file.lastModified - a.file.lastModified);
    if (there.length === 0) continue;
    const [{ folder }] = there;
    const together = there.filter((one) => one.folder === folder);
    return (kind.test("tfevents") ? together : there.slice(0, 1)).map(({ file }) => file);
  }
  return [];
}

function opened(entry) {
  const folder = entry.fullPath.slice(0, entry.fullPath.lastIndexOf("/"));
  return new Promise((settle) => entry.file((file) => settle({ file, folder }), () => settle(null)));
}
