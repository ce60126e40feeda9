/**
 * How the editor looks: the metrics and colours of the baked source, by the page's own properties.
 *
 * The editor lives in a shadow root, because only there CodeMirror adds its rules as constructed
 * style sheets; in the document it would add a style element, which the page's policy forbids.
 * Custom properties reach into the shadow, the page's rules do not.
 */

import { HighlightStyle } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export const theme = EditorView.theme({
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-mono)", lineHeight: "1.6" },
  ".cm-content": { padding: "var(--space-3) 0", caretColor: "var(--ink)" },
  ".cm-line": { padding: "0 var(--space-3) 0 0" },
  ".cm-line::selection, .cm-line ::selection": { background: "var(--selection)" },
  "&.cm-focused .cm-matchingBracket": { background: "var(--selection)" },
  "&.cm-focused .cm-nonmatchingBracket": { background: "none", color: "var(--bad)" },
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

export const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.bool, tags.null], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: tags.number, color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  {
    tag: [tags.function(tags.definition(tags.variableName)), tags.className],
    color: "var(--code-name)",
  },
]);
