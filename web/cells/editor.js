/**
 * The editor of a cell: CodeMirror 6, loaded when the reader first wants to edit.
 *
 * It has the exact size of the source that it replaces: same type, lines and padding; the line numbers stand in the padding,
 * and only while it has the focus. Tab moves the focus, as everywhere in the page; Ctrl-] and Ctrl-[ indent.
 */

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting, HighlightStyle } from "@codemirror/language";
import { EditorSelection, EditorState, StateEffect, StateField } from "@codemirror/state";
import { Decoration, EditorView, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { make } from "../figures/tools.js";
import { nameOf, UNSEEN } from "../figures/vnode.js";

const markEffect = StateEffect.define();
const FAILED = Decoration.line({ class: "cm-failed" });

/** The line of the last error, until the code is changed. */
const mark = StateField.define({
  create: () => Decoration.none,
  update: (marked, { docChanged, effects }) => {
    const effect = effects.find((one) => one.is(markEffect));
    if (effect) return effect.value;
    return docChanged ? Decoration.none : marked;
  },
  provide: (field) => EditorView.decorations.from(field),
});

/**
 * @param {{parent: HTMLElement, code: string, label: string, onChange: (code: string) => void,
 *   onRun: () => void, onSave: () => void, onLeave: () => void}} options
 */
export function createEditor({ parent, code, label, onChange, onRun, onSave, onLeave }) {
  const act = (action) => () => {
    action();
    return true;
  };
  const own = [
    { key: "Shift-Enter", run: act(onRun) },
    { key: "Mod-Enter", run: act(onRun) },
    { key: "Mod-s", run: act(onSave) },
    { key: "Escape", run: act(onLeave) },
  ];
  const extensions = [
    keymap.of([...own, ...defaultKeymap, ...historyKeymap]),
    lineNumbers(),
    highlightSpecialChars({
      specialChars: UNSEEN,
      render: (code) => make("mark", { className: "cm-unseen", textContent: nameOf(code) }),
    }),
    history(),
    python(),
    indentUnit.of("    "),
    indentOnInput(),
    bracketMatching(),
    mark,
    syntaxHighlighting(colours),
    theme,
    EditorView.domEventHandlers({ beforeinput: replaceSelection }),
    EditorView.contentAttributes.of({ "aria-label": label, "aria-multiline": "true" }),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) onChange(update.state.doc.toString());
    }),
  ];
  const root = parent.attachShadow({ mode: "open" });
  return new EditorView({ parent: root, root, state: EditorState.create({ doc: code, extensions }) });
}

/**
 * Replaces a selection by what is typed. Chromium would keep the style of the replaced text in a style attribute, which the
 * page's policy forbids and the console reports.
 */
function replaceSelection(event, view) {
  const plain = event.inputType === "insertText" && event.data && !event.isComposing;
  if (!plain || view.state.selection.main.empty) return false;
  event.preventDefault();
  view.dispatch(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
  return true;
}

/** Replaces the whole text; it can be undone. */
export function setCode(view, code) {
  if (view.state.doc.toString() === code) return;
  view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: code } });
}

/** Marks a line, or none. @param {number} line 1-based; 0 for none */
export function markLine(view, line) {
  const { doc } = view.state;
  const found = line > 0 && line <= doc.lines;
  const marked = found ? Decoration.set([FAILED.range(doc.line(line).from)]) : Decoration.none;
  view.dispatch({ effects: markEffect.of(marked) });
}

/** Puts the cursor at a character, or selects a line (1-based; past the end means the last). */
export function focusAt(view, { offset = 0, line = 0 }) {
  const { doc } = view.state;
  let selection = EditorSelection.single(Math.min(offset, doc.length));
  if (line > 0) {
    const { from, to } = doc.line(Math.min(line, doc.lines));
    selection = EditorSelection.single(from, to);
  }
  view.focus();
  view.dispatch({ selection, scrollIntoView: true });
}

// The editor lives in a shadow root: only there CodeMirror adds its rules as constructed style sheets; in
// the document it would add a style element, which the page's policy forbids.
const theme = EditorView.theme({
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-mono)", lineHeight: "1.6" },
  ".cm-content": { padding: "var(--space-3) 0", caretColor: "var(--ink)" },
  ".cm-line": { padding: "0 var(--space-3) 0 0" },
  ".cm-line::selection, .cm-line ::selection": { background: "var(--selection)" },
  "&.cm-focused .cm-matchingBracket": { background: "var(--selection)" },
  "&.cm-focused .cm-nonmatchingBracket": { background: "none", color: "var(--bad)" },
  ".cm-unseen": { background: "none", outline: "1px solid var(--bad)", color: "var(--bad)" },
  ".cm-failed": { boxShadow: "inset 2px 0 var(--bad)" },
  ".cm-gutters": {
    width: "var(--cell-indent)",
    border: "0",
    background: "var(--surface)",
    color: "var(--ink-3)",
    fontSize: "0.6875rem",
    visibility: "hidden",
  },
  "&.cm-focused .cm-gutters": { visibility: "visible" },
  ".cm-lineNumbers": { width: "100%" },
  ".cm-lineNumbers .cm-gutterElement": {
    minWidth: "0",
    padding: "0 0.7rem 0 0",
    lineHeight: "calc(1.6 * 0.8438rem)",
  },
});

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.bool, tags.null], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: tags.number, color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  {
    tag: [tags.function(tags.definition(tags.variableName)), tags.className],
    color: "var(--code-name)",
  },
]);
