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
 *
 * Another version of a cell, which a link brings or a changed article has, is shown as a difference, and neither run nor
 * saved before the reader takes it:
 *
 *   #memory-table&edit?BASE64    the code, deflated; browsers never send the fragment
 */

import { h, toDom } from "../figures/vnode.js";

const PREFIX = "unfrozen-cell:";
const MOST_CHARACTERS = 100_000; // of a link
const MOST_BYTES = 200_000; // of the code in it
const MOST_LINES = 1000; // of a version that is compared line by line
const NO_CELL = "The link leads to a cell that is not on this page. Ask for it again.";
const EDIT = /&edit\?([\w-]*)$/;

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

/** @returns {Promise<string>} the address that brings a version of a cell */
export async function linkTo(id, code) {
  const packed = new Blob([code]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  const base64 = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${location.origin}${location.pathname}#${id}&edit?${base64}`;
}

let taken; // the version of this address, once it was taken out

/**
 * Takes the version out of the address, if it has one, so that it stays neither there nor in the history.
 * @returns {Promise<{id: string, code: string, problem: string} | null>}
 */
export function sharedVersion() {
  taken ??= read();
  return taken;
}

async function read() {
  const found = EDIT.exec(location.hash);
  if (!found) return null;
  const place = location.hash.slice(0, found.index);
  const id = place.slice(1).split("&", 1)[0];
  history.replaceState(history.state, "", place);
  const first = document.querySelector("live-cell")?.id ?? "";
  if (!document.getElementById(id)?.matches("live-cell")) return { id: first, code: "", problem: NO_CELL };
  try {
    return { id, code: await unpacked(found[1]), problem: "" };
  } catch {
    return { id, code: "", problem: "The link to this cell is damaged: its code cannot be read. Ask for it again." };
  }
}

async function unpacked(base64) {
  if (base64.length > MOST_CHARACTERS) throw new RangeError("too long");
  const bytes = Uint8Array.from(atob(base64.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const pieces = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MOST_BYTES) throw new RangeError("too large"); // a bomb is not unpacked to its end
    pieces.push(value);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(await new Blob(pieces).arrayBuffer());
}

/**
 * Two versions as lines that go and lines that come, with what the reader can do.
 * @param {{text: string, before: string, after: string, actions: [label: string, act: () => void][]}} what
 */
export function versionsNote({ text, before, after, actions }) {
  const buttons = actions.map(([label]) => h("button", { type: "button", class: "button button-small" }, label));
  const note = toDom(
    h(
      "div",
      { class: "cell-versions", role: "group", "aria-label": "Another version of this cell" },
      h("p", null, text),
      h("pre", { class: "cell-diff", tabindex: 0 }, difference(before, after).map(lineView)),
      h("p", { class: "row" }, buttons),
    ),
  );
  note.querySelectorAll("button").forEach((button, index) => {
    button.addEventListener("click", () => {
      note.remove();
      actions[index][1]();
    });
  });
  return note;
}

function lineView([mark, line]) {
  if (mark === "-") return h("del", null, `− ${line}`);
  if (mark === "+") return h("ins", null, `+ ${line}`);
  return h("samp", null, `  ${line}`);
}

/**
 * The lines of two texts: those that both have, in the longest order they share, and those of one alone.
 * @returns {["-" | "+" | " ", string][]}
 */
export function difference(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  if (a.length > MOST_LINES || b.length > MOST_LINES) return [...a.map((line) => ["-", line]), ...b.map((line) => ["+", line])];
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const lines = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push([" ", a[i]]);
      [i, j] = [i + 1, j + 1];
    } else if (j >= b.length || (i < a.length && longest[i + 1][j] >= longest[i][j + 1])) lines.push(["-", a[i++]]);
    else lines.push(["+", b[j++]]);
  }
  return lines;
}
