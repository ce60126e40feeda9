/**
 * Printed text in a `<pre>`, in blocks that the browser can skip while they are out of sight.
 *
 * Appending to one long text node lays all of it out again each time; 200 kB of short lines then cost hundreds of
 * milliseconds. Each block is laid out by itself and cut at the end of a line where possible, so that the text looks and
 * copies like one.
 */

const BLOCK_CHARS = 4000;

export class TextStream {
  /** @param {HTMLPreElement} pre holds the text; what it held before is replaced */
  constructor(pre) {
    this.pre = pre;
    this.text = "";
    this.open = null;
    this.terminal = new TerminalText();
    pre.replaceChildren();
  }

  /** Appends printed text, and stays at the end if the reader was there. @param {string} printed */
  append(printed) {
    const { pre } = this;
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 2;
    const { back, text } = this.terminal.read(printed);
    if (back > 0) this.#removeLast(back);
    this.text += text;
    for (const piece of pieces(text, BLOCK_CHARS - (this.open?.length ?? 0))) this.#add(piece);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }

  /** Removes characters from the end, across blocks. */
  #removeLast(chars) {
    this.text = this.text.slice(0, this.text.length - chars);
    for (let left = chars, block = this.pre.lastChild; left > 0 && block; block = this.pre.lastChild) {
      const { firstChild: node } = block;
      const cut = Math.min(left, node.length);
      left -= cut;
      if (cut === node.length) block.remove();
      else node.deleteData(node.length - cut, cut);
    }
    const last = this.pre.lastChild;
    last?.classList.remove("is-full");
    this.open = last?.firstChild ?? null;
  }

  #add(piece) {
    if (!this.open) {
      const block = document.createElement("span");
      block.className = "cell-text";
      this.open = block.appendChild(document.createTextNode(""));
      this.pre.append(block);
    }
    this.open.appendData(piece);
    const { length } = this.open;
    if (length >= BLOCK_CHARS || (length > BLOCK_CHARS / 2 && piece.endsWith("\n"))) {
      this.open.parentElement.classList.add("is-full"); // only these may be skipped out of sight:
      this.open = null; // a skipped block has a guessed height until it has been seen
    }
  }
}

/** Cuts text into pieces of at most `first`, then BLOCK_CHARS characters, after newlines if any. */
function* pieces(text, first) {
  let room = Math.max(1, first);
  for (let start = 0; start < text.length; room = BLOCK_CHARS) {
    const end = Math.min(text.length, start + room);
    const newline = text.lastIndexOf("\n", end - 1) + 1;
    const cut = end < text.length && newline > start ? newline : end;
    yield text.slice(start, cut);
    start = cut;
  }
}

// CSI (colours, cursor), OSC (titles, links) with either end, and two-character escapes.
const CODES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,500}\x1b?|[ -/]*)?$/;
const MOVES = /[\r\b]/;

/**
 * Reads printed text as a terminal does: colour and cursor codes are removed, a carriage return goes back to the start of
 * the line, a backspace one character.
 *
 *   "10 %\r20 %\n"  ─▶  {back: 0, text: "20 %\n"}         what is printed at once
 *   "10 %", "\r20 %"  ─▶  the second: {back: 4, text: "20 %"}   four characters are removed
 */
export class TerminalText {
  #rest = ""; // of a code whose end has not arrived yet
  #line = []; // characters of the last line
  #at = 0; // of the cursor in it

  /**
   * @param {string} piece as printed
   * @returns {{back: number, text: string}} how many characters of the last line to remove, and
   *   what to append then
   */
  read(piece) {
    const all = this.#rest + piece;
    this.#rest = UNFINISHED.exec(all)?.[0] ?? "";
    const text = all.slice(0, all.length - this.#rest.length).replace(CODES, "");
    const isPlain = this.#at === this.#line.length && !MOVES.test(text);
    return isPlain ? this.#appended(text) : this.#moved(text);
  }

  #appended(text) {
    const start = text.lastIndexOf("\n") + 1;
    if (start > 0) this.#line = [];
    for (const unit of text.slice(start).split("")) this.#line.push(unit);
    this.#at = this.#line.length;
    return { back: 0, text };
  }

  #moved(text) {
    const before = this.#line.join("");
    const lines = [];
    for (const unit of text.split("")) {
      if (unit === "\n") {
        lines.push(this.#line.join(""));
        this.#line = [];
        this.#at = 0;
      } else if (unit === "\r") this.#at = 0;
      else if (unit === "\b") this.#at = Math.max(0, this.#at - 1);
      else this.#line[this.#at++] = unit;
    }
    const after = [...lines, this.#line.join("")].join("\n");
    let same = 0;
    while (same < before.length && before[same] === after[same]) same += 1;
    return { back: before.length - same, text: after.slice(same) };
  }
}
