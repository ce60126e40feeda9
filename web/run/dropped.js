/**
 * What a reader dropped on a run: files, or a folder in which a run lies somewhere. Of several runs in
 * a folder it is the one that was written last.
 */

const MOST_FILES = 5000; // looked at
const DEEPEST = 8;

/** By how much of a run each kind of file holds. */
const KINDS = [/^events\.jsonl$/, /\.wandb$/, /tfevents/, /^trainer_state\.json$/];

/**
 * @param {DataTransfer} transfer of a drop, to be asked while its event lasts
 * @returns {Promise<File[]>} the files of one run; those that were dropped, where none is a folder
 */
export async function droppedFiles(transfer) {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = [];
  for (const entry of entries) await lookThrough(entry, found, DEEPEST);
  const run = await newestRun(found);
  if (run.length || !found.length) return run.length ? run : files;
  return [await opened(found[0])].filter(Boolean).map(({ file }) => file); // of which it is said that it is no run
}

async function lookThrough(entry, found, deep) {
  if (found.length >= MOST_FILES) return;
  if (entry.isFile) found.push(entry);
  else if (deep > 0) for (const inner of await entriesOf(entry)) await lookThrough(inner, found, deep - 1);
}

/** All of a folder: its reader gives some at a time. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (let some = [null]; some.length > 0 && all.length < MOST_FILES; all.push(...some)) {
    some = await new Promise((settle) => reader.readEntries(settle, () => settle([])));
  }
  return all;
}

/** The newest file of the most telling kind; event files together with those that lie beside it. */
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
