/**
 * Another version of a cell: one that a link brings, or the reader's own of an article that has changed. It is shown as
 * a difference, and neither run nor saved before the reader takes it.
 *
 *   #memory-table&edit?BASE64    the code, deflated; browsers never send the fragment
 */

import { h, toDom } from "../figures/vnode.js";

const MOST_CHARACTERS = 100_000; // of a link
const MOST_BYTES = 200_000; // of the code in it
const MOST_LINES = 1000; // of a version that is compared line by line
const EDIT = /&edit\?([\w-]*)$/;

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
  const id = decodeURIComponent(place.slice(1).split("&", 1)[0]);
  history.replaceState(history.state, "", place);
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
  if (mark === "-") return [h("del", null, `− ${line}`), "\n"];
  if (mark === "+") return [h("ins", null, `+ ${line}`), "\n"];
  return `  ${line}\n`;
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
