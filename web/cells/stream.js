/**
 * Printed text in a `<pre>`, in blocks the browser can skip while they are out of sight.
 *
 * Appending to one long text node lays all of it out again each time; 200 kB of short lines then
 * cost the page hundreds of milliseconds. Each block is laid out by itself and cut at a line's end
 * where there is one, so that the text looks and copies as if it were whole.
 */

const BLOCK_CHARS = 4000;

export class TextStream {
  /** @param {HTMLPreElement} pre holds the text; what it held before is replaced */
  constructor(pre) {
    this.pre = pre;
    this.text = "";
    this.open = null;
    pre.replaceChildren();
  }

  /** Append text, and stay at the end if the reader was there. @param {string} text */
  append(text) {
    const { pre } = this;
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 2;
    this.text += text;
    for (const piece of pieces(text, BLOCK_CHARS - (this.open?.length ?? 0))) this.#add(piece);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
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

/** Cut text into pieces of at most `first`, then BLOCK_CHARS characters, after newlines if any. */
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
