/**
 * The editor of a cell: CodeMirror 6, loaded when the reader first wants to edit.
 *
 * It has the exact size of the source that it replaces: same type, lines and padding; the line numbers stand in the padding,
 * and only while it has the focus. Tab moves the focus, as everywhere in the page, unless a list of names is open, from which
 * it takes one; Ctrl-] and Ctrl-[ indent.
 *
 * It offers names of the live interpreter, and those that this cell defines, by where the cursor stands:
 *
 *   np.li|            owner "np"
 *   plan(job, st|     callee "plan": its arguments come first
 *   from numpy.|      package "numpy"; after "import" also its members
 *   "text|", # text|  nowhere
 *
 * The list opens by itself after a dot, everywhere else at Ctrl-Space: whoever types a name and presses Enter wants a line.
 */

import { acceptCompletion, autocompletion } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { localCompletionSource, python, pythonLanguage } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting, HighlightStyle } from "@codemirror/language";
import { EditorSelection, EditorState, Prec, StateEffect, StateField } from "@codemirror/state";
import { Decoration, EditorView, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { make } from "../figures/tools.js";
import { nameOf, UNSEEN } from "../figures/vnode.js";

const MOST_CHARACTERS = 300; // of an expression
const IMPORT = /^\s*(?:import|from)\s+(?:[\w.\s]*,\s*)?(?:([\w.]+)\.)?\w*$/;
const FROM_IMPORT = /^\s*from\s+([\w.]+)\s+import\s+\(?(?:[^()]*,\s*)?\w*$/;
const TEXTS = ["String", "FormatString", "Comment", "Number"];
const OWNERS = /^(?:VariableName|String|FormatString|(?:Member|Call|Parenthesized|Array|Dictionary|Set|Tuple)Expression)$/;
const BRACKETS = ["ArgList", "ParamList", "TupleExpression", "ParenthesizedExpression", "ArrayExpression", "SetExpression"];

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
 *   onRun: () => void, onSave: () => void, onLeave: () => void, names: Names,
 *   onNoNames: () => void}} options
 */
export function createEditor({ parent, code, label, onChange, onRun, onSave, onLeave, names, onNoNames }) {
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
    autocompletion({ override: [nameSource(names, onNoNames)], icons: false, interactionDelay: 0 }),
    Prec.highest(keymap.of([{ key: "Tab", run: acceptCompletion }])),
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
  ".cm-tooltip": {
    border: "1px solid var(--rule-strong)",
    borderRadius: "var(--radius)",
    background: "var(--paper)",
    color: "var(--ink)",
    boxShadow: "var(--shadow)",
    overflow: "hidden",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": {
    minWidth: "12rem",
    maxHeight: "13.5em",
    fontFamily: "var(--font-mono)",
    fontSize: "0.8125rem",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": {
    display: "flex",
    justifyContent: "space-between",
    gap: "var(--space-4)",
    minHeight: "24px",
    padding: "0 var(--space-2)",
    lineHeight: "24px",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    outline: "1px solid transparent", // of forced colours
    outlineOffset: "-1px",
    background: "var(--selection)",
    color: "var(--ink)",
  },
  ".cm-completionDetail": { color: "var(--ink-3)", fontStyle: "normal" },
  ".cm-completionMatchedText": { color: "var(--accent)", textDecoration: "none" },
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

/**
 * @typedef {{from: number, owner: string, callee: string, package: string | null, members: boolean, hidden: boolean}} Place
 *   from: where the word begins; the rest see `pycell.completion`
 * @typedef {(place: Place) => Promise<[name: string, detail: string][]>} Names
 */

/**
 * @param {string} code also one that is broken
 * @param {number} at the cursor
 * @returns {Place | null} null in a text, a comment or a number
 */
export function placeAt(code, at) {
  const line = code.slice(code.lastIndexOf("\n", at - 1) + 1, at);
  const word = /(?:(?![\p{N}])[\p{L}\p{N}_]+)?$/u.exec(line)[0];
  const from = at - word.length;
  const place = { from, owner: "", callee: "", package: null, members: false, hidden: word.startsWith("_") };
  const fromImport = FROM_IMPORT.exec(line);
  if (fromImport) return { ...place, package: fromImport[1], members: true };
  const imported = IMPORT.exec(line);
  if (imported) return { ...place, package: imported[1] ?? "" };
  const node = pythonLanguage.parser.parse(code).resolveInner(at, -1);
  if (isIn(node, TEXTS, ["FormatReplacement"])) return null;
  if (code[from - 1] === ".") {
    const owner = ownerBefore(code, from - 1);
    return owner && owner.length <= MOST_CHARACTERS ? { ...place, owner } : null;
  }
  const callee = /[(,]\s*$/.test(code.slice(0, from)) ? calleeAround(node, code) : "";
  return { ...place, callee: callee.length <= MOST_CHARACTERS ? callee : "" };
}

/** Returns the expression that ends at a dot; "" where none does. Brackets that are still open are no part of it. */
function ownerBefore(code, dot) {
  let owner = null;
  let node = pythonLanguage.parser.parse(code.slice(0, dot)).resolveInner(dot, -1);
  for (; node?.to === dot && !isOpen(node); node = node.parent) if (OWNERS.test(node.name)) owner = node;
  return owner ? code.slice(owner.from, dot) : "";
}

function isOpen(node) {
  for (let last = node; last; last = last.lastChild) if (last.type.isError) return true;
  return false;
}

/** Returns the function between whose brackets a node lies; "" inside of other brackets. */
function calleeAround(node, code) {
  for (let each = node; each; each = each.parent) {
    if (!BRACKETS.includes(each.name)) continue;
    if (each.name !== "ArgList" || each.parent?.name !== "CallExpression") return "";
    return code.slice(each.parent.from, each.parent.firstChild.to);
  }
  return "";
}

function isIn(node, names, except) {
  for (let each = node; each; each = each.parent) {
    if (except.includes(each.name)) return false;
    if (names.includes(each.name)) return true;
  }
  return false;
}

/**
 * @param {Names} names
 * @param {() => void} onNoNames the reader asked and there is none
 * @returns {import("@codemirror/autocomplete").CompletionSource}
 */
export function nameSource(names, onNoNames) {
  return async (context) => {
    const place = placeAt(context.state.doc.toString(), context.pos);
    if (!context.explicit && !place?.owner) return null;
    const known = place ? await names(place) : [];
    if (context.aborted) return null;
    const options = known.map(([label, detail]) => ({ label, detail, boost: boostOf(detail) }));
    if (place && !place.owner && place.package === null) options.push(...defined(context, new Set(known.map(([name]) => name))));
    if (options.length === 0) return context.explicit ? onNoNames() : null;
    return { from: place.from, options, validFor: place.hidden ? /^_\w*$/ : /^(?!_)\w*$/ };
  };
}

function boostOf(detail) {
  return { argument: 2, "built-in": -1 }[detail] ?? 1;
}

/** Returns the names that this cell defines and Python does not know yet. */
function defined(context, known) {
  const found = localCompletionSource(context)?.options ?? [];
  return found.filter(({ label }) => !known.has(label)).map(({ label }) => ({ label, detail: "this cell", boost: 1 }));
}
