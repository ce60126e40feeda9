/**
 * Files of other tools: the page's own Python (the planner's, in which no reader code runs) makes a
 * log of them, piece by piece. Between two pieces it answers others, and a reader can stop.
 */

import { planner } from "../python/planner.js";

const HEAD_BYTES = 64;
const PIECE_BYTES = 512 * 1024;

/** What such a file is, for a reader who brought another one. */
export const EXPECTED =
  "Choose an events.jsonl, a trainer_state.json of Hugging Face Trainer, event files of TensorBoard " +
  "(events.out.tfevents.…) or an offline run of W&B (run-….wandb)";

/**
 * Whether a file is another tool's, by its first bytes; whether it is whole is for Python to say.
 * @param {File} file
 */
export async function isForeign(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (head.startsWith(":W&B") || head.includes("brain.Event:") || file.name.includes("tfevents")) return true;
  return /^\s*\{/.test(head) && file.name.endsWith(".json") && !head.startsWith('{"v":');
}

/**
 * The log of a run that another tool has written.
 * @param {File[]} files of one run
 * @param {(words: string) => void} say how far it is; Python is loaded at the first file
 * @param {AbortSignal} signal stops between two pieces
 * @returns {Promise<Blob>} rejects with what is wrong, in words
 */
export async function foreignLog(files, say, signal) {
  const tell = () => say(loading(planner.status));
  planner.addEventListener("status", tell, { signal });
  const given = files.map(({ name, lastModified }) => ({ name, modified: lastModified / 1000 }));
  const reading = await ask("import_files", { files: given }, signal);
  planner.removeEventListener("status", tell);
  await read(reading, files, say, signal);
  const parts = [];
  for (let answer = { more: true }; answer.more; ) {
    answer = await ask("import_lines", { import: reading.import }, signal);
    parts.push(answer.lines);
  }
  return new Blob(parts);
}

async function read({ import: number, order }, files, say, signal) {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const file of order.map((place) => files[place])) {
    let at = 0;
    do {
      const piece = file.slice(at, at + PIECE_BYTES);
      at += PIECE_BYTES;
      await ask("import_piece", { import: number, data: await base64(piece), last: at >= file.size }, signal);
      done += piece.size;
      say(`${Math.floor((100 * done) / Math.max(1, total))}% of it is read.`);
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
  if (answer === null) throw new Error(planner.status.reason || "It was put aside for another file");
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
