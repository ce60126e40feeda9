/** The source of a cell: the printed `<pre>` until the reader edits it, then an editor. `code` reads and writes both. */

import { make } from "../figures/tools.js";

export class CellSource extends EventTarget {
  /**
   * Dispatches "change" when the code changes, "run" at Shift-Enter, "save" at Ctrl-S, "leave" at Esc, and "lost" when the
   * editor could not be loaded.
   * @param {HTMLPreElement} pre the baked source
   * @param {string} name the cell's name, for screen readers
   */
  constructor(pre, name) {
    super();
    this.pre = pre;
    this.fold = pre.previousElementSibling?.matches("details") ? pre.previousElementSibling : null;
    this.codeElement = pre.querySelector("code") ?? pre;
    this.name = name;
    this.text = this.codeElement.textContent;
    this.baked = [...this.codeElement.childNodes];
    this.original = this.text;
    this.tail = this.text.endsWith("\n") ? "\n" : ""; // the last newline has no line of its own
    this.editor = null;
    this.tools = null; // the editor's module, once it is here
    this.opening = null;
    pre.tabIndex = 0;
    pre.setAttribute("role", "group");
    pre.setAttribute("aria-label", `Python code of ${name}; press Enter to edit`);
    pre.addEventListener("click", (event) => this.#clicked(event));
    pre.addEventListener("keydown", (event) => this.#pressed(event));
    pre.addEventListener("focus", () => loadEditor().catch(() => {}), { once: true });
  }

  get code() {
    return this.text;
  }

  set code(code) {
    this.#setText(String(code));
    if (this.editor) this.tools.setCode(this.editor, this.#lines);
    else this.#showPlain();
  }

  /** Opens the editor with the cursor at a character (`offset`) or on a line (`line`). */
  async edit(place = {}) {
    try {
      await this.mount();
    } catch {
      this.opening = null;
      this.dispatchEvent(new Event("lost"));
      return;
    }
    this.tools.focusAt(this.editor, place);
  }

  /** Unfolds the source and replaces it by the editor, once. */
  mount() {
    if (this.fold) this.fold.open = true;
    this.opening ??= loadEditor().then((tools) => {
      const host = make("div", { className: "cell-editor" });
      this.tools = tools;
      this.editor = tools.createEditor({
        parent: host,
        code: this.#lines,
        label: `Python code of ${this.name}; press Escape to leave`,
        onChange: (code) => code !== this.#lines && this.#setText(code + this.tail),
        onRun: () => this.dispatchEvent(new Event("run")),
        onSave: () => this.dispatchEvent(new Event("save")),
        onLeave: () => this.dispatchEvent(new Event("leave")),
      });
      this.pre.after(host);
      this.pre.hidden = true;
    });
    return this.opening;
  }

  /** Marks the line of an error in the editor, if there is one. @param {number} line 0 for none */
  mark(line) {
    if (this.editor) this.tools.markLine(this.editor, line);
  }

  /** The code as the editor holds it, without an empty last line that the baked source lacks. */
  get #lines() {
    return this.tail && this.text.endsWith("\n") ? this.text.slice(0, -1) : this.text;
  }

  #setText(code) {
    if (code === this.text) return;
    this.text = code;
    if (this.editor) this.codeElement.textContent = code; // for whatever reads the DOM
    this.dispatchEvent(new Event("change"));
  }

  /** Shows the article's code as printed, any other in the editor. */
  #showPlain() {
    if (this.text === this.original) this.codeElement.replaceChildren(...this.baked);
    else {
      this.codeElement.textContent = this.text;
      this.mount().catch(() => {}); // without the editor the text has no colours
    }
  }

  #clicked(event) {
    if (event.button === 0 && getSelection().isCollapsed) this.edit({ offset: this.#offsetAt(event) });
  }

  #pressed(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.dispatchEvent(new Event("run"));
    else this.edit();
  }

  /** Returns the offset of the character under the pointer. */
  #offsetAt({ clientX, clientY }) {
    const caret = caretAt(clientX, clientY);
    if (!caret || !this.pre.contains(caret.node)) return 0;
    const before = document.createRange();
    before.setStart(this.codeElement, 0);
    before.setEnd(caret.node, caret.offset);
    return before.toString().length;
  }
}

function caretAt(x, y) {
  if (document.caretPositionFromPoint) {
    const caret = document.caretPositionFromPoint(x, y);
    return caret && { node: caret.offsetNode, offset: caret.offset };
  }
  const range = document.caretRangeFromPoint?.(x, y);
  return range && { node: range.startContainer, offset: range.startOffset };
}

/** Loads the editor's chunk; after a failure, the next edit tries again. */
let editorModule = null;
function loadEditor() {
  editorModule ??= import("./editor.js").catch((error) => {
    editorModule = null;
    throw error;
  });
  return editorModule;
}
