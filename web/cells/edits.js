/**
 * The reader's versions of cells: stored in this browser, and saved together as one file of Python.
 *
 * Each is stored with the hash of the article's source: a changed article can be distinguished from a changed cell. Without
 * storage an edit lasts as long as the page.
 *
 * Two tabs may edit one cell. A tab that is about to overwrite a version that it has not seen stores it beside its own, and
 * both stay until the reader has chosen:
 *
 *   tab A saves "a"                            stored: a
 *   tab B, opened before, saves "b"            stored: b, other: a
 *   the reader keeps "a" in either tab         stored: a
 */

const PREFIX = "unfrozen-cell:";

export const EDITS_NAME = "unfrozen-edits.py";

/** What one tab knows of the stored edit of a cell. */
export class StoredEdit {
  #seen = null; // code as this tab has last read or stored it
  /** The version of another tab, until the reader has chosen. @type {string | null} */
  other = null;

  /**
   * @param {string} id of the cell
   * @param {string} hash of the article's source
   * @param {string} original that source
   */
  constructor(id, hash, original) {
    this.key = PREFIX + id;
    this.hash = hash;
    this.original = original;
  }

  /** @returns {{hash: string, code: string} | null} */
  load() {
    const found = readEdit(readText(this.key));
    this.#seen = found?.code ?? null;
    this.other = found?.other ?? null;
    return found;
  }

  /** Stores the code of this tab. @returns {boolean} false where storage is full or blocked */
  save(code) {
    this.#noteUnseen(code);
    return this.#write(code);
  }

  /** Removes the edit, after a reset in this tab; that of another tab stays. */
  remove() {
    this.#noteUnseen(this.original);
    if (this.other !== null) return void this.#write(this.other);
    this.#seen = null;
    try {
      localStorage.removeItem(this.key);
    } catch {
      // nothing could have been stored
    }
  }

  /** Takes what another tab has stored. @param {string | null} text @param {string} code of this tab */
  take(text, code) {
    const found = readEdit(text);
    if (text !== null && !found) return; // not ours
    const theirs = found?.code ?? this.original;
    this.other = theirs === code ? null : theirs;
    if (theirs === code) this.#seen = code;
  }

  /** Ends the choice between two versions: the one of this tab is going to be saved. */
  choose() {
    this.load();
    this.other = null;
  }

  #noteUnseen(code) {
    const found = readEdit(readText(this.key))?.code ?? this.#seen;
    if (found !== this.#seen) this.other = found;
    if (this.other === code) this.other = null;
  }

  #write(code) {
    this.#seen = code;
    const other = this.other === null || this.other === code ? {} : { other: this.other };
    try {
      localStorage.setItem(this.key, JSON.stringify({ hash: this.hash, code, ...other }));
      return true;
    } catch {
      return false;
    }
  }
}

function readText(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is blocked
  }
}

/** @param {string | null} text @returns {{hash: string, code: string, other?: string} | null} null where it is not ours */
function readEdit(text) {
  try {
    const { hash, code, other } = JSON.parse(text);
    return typeof code === "string" ? { hash, code, other: typeof other === "string" ? other : undefined } : null;
  } catch {
    return null;
  }
}

/**
 * @param {string[]} ids of the cells of this page
 * @returns {{id: string, code: string}[]} edits of cells that the article had when they were made
 */
export function editsOfRemovedCells(ids) {
  try {
    const stored = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).sort();
    const others = stored.map((key) => key.slice(PREFIX.length)).filter((id) => !ids.includes(id));
    return others.map((id) => ({ id, code: readEdit(readText(PREFIX + id))?.code ?? "" })).filter(({ code }) => code);
  } catch {
    return [];
  }
}

const HEAD = `# Cells of the article Unfrozen as you have edited them, from {WHERE}
# They need the package unfrozen of that version; cells that you did not edit are left out.
`;
const AWAIT = "# Run it cell by cell, in an editor or a notebook: a cell that awaits is no plain Python.\n";
const OUTSIDE = `
# %% Outside the page, what a cell shows is printed
import json, sys, types
from importlib.util import find_spec

class PrintedWindow:
    def __setattr__(self, name, text):
        object.__setattr__(self, name, text)
        shown = json.loads(text)
        for each in shown if isinstance(shown, list) else [shown]:
            print(each.get("title") or each.get("caption") or "")
            print(*each.get("headers", ["", *each.get("x_data", [])]), sep="\\t")
            for row in each.get("rows") or [[line["label"], *line["data"]] for line in each["lines"]]:
                print(*row, sep="\\t")

if "js" not in sys.modules and find_spec("js") is None:
    sys.modules["js"] = types.SimpleNamespace(window=PrintedWindow())
`;

/**
 * Cells as one file that Python runs, and that editors know as cells: each begins with "# %%".
 * @param {{id: string, code: string}[]} cells in the order of the page
 * @param {string} where their page is
 */
export function editsFile(cells, where) {
  const notes = cells.some(({ code }) => /(?:^|[\s(=])(?:await|async\s+(?:for|with))\s/m.test(code)) ? AWAIT : "";
  const parts = cells.map(({ id, code }) => `\n# %% ${oneLine(id)}\n${code.endsWith("\n") ? code : `${code}\n`}`);
  return [HEAD.replace("{WHERE}", oneLine(where)), notes, OUTSIDE, ...parts].join("");
}

function oneLine(text) {
  return text.replace(/\s+/g, " ");
}
