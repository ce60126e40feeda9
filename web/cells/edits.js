/**
 * The reader's versions of cells: stored in this browser, and saved together as one file of Python.
 *
 * Each is stored with the hash of the article's source: a changed article can be distinguished from a changed cell. Without
 * storage an edit lasts as long as the page.
 */

const PREFIX = "unfrozen-cell:";

export const EDITS_NAME = "unfrozen-edits.py";

/** @returns {{hash: string, code: string} | null} what was stored for a cell */
export function loadEdit(id) {
  try {
    return readEdit(localStorage.getItem(PREFIX + id));
  } catch {
    return null; // storage is blocked
  }
}

/** @param {string | null} text @returns {{hash: string, code: string} | null} null where it is not ours */
function readEdit(text) {
  try {
    const stored = JSON.parse(text);
    return typeof stored?.code === "string" ? stored : null;
  } catch {
    return null;
  }
}

/** Stores `code`, an edit of the article's source with `hash`. @returns {boolean} false where storage is full or blocked */
export function saveEdit(id, hash, code) {
  try {
    localStorage.setItem(PREFIX + id, JSON.stringify({ hash, code }));
    return true;
  } catch {
    return false;
  }
}

/** Removes what was stored for a cell. */
export function removeEdit(id) {
  try {
    localStorage.removeItem(PREFIX + id);
  } catch {
    // nothing could have been stored
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
    return others.map((id) => ({ id, code: loadEdit(id)?.code ?? "" })).filter(({ code }) => code);
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
