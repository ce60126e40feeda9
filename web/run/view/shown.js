/**
 * Text of rows, as a person can see all of it: what has no shape, or would turn its surroundings
 * around, is told by its number. Letters of every script stay as they are, and so do the joiners that
 * some scripts and emoji are written with.
 */

import { h } from "../../figures/vnode.js";

const JOINED =
  "Arabic Bengali Devanagari Gujarati Gurmukhi Kannada Khmer Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Tibetan";
const before = JOINED.split(" ").map((script) => `\\p{Script=${script}}`);
const HIDDEN = new RegExp(
  [
    "(?![\\u200c\\u200d])[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cn}\\p{Cs}\\p{Zl}\\p{Zp}]", // controls, and what is nobody's
    `(?<![${before.join("")}\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\ufe0f])[\\u200c\\u200d]`, // joiners of nothing
    "[\\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]", // spaces that look like another one
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u2800\\u3164\\uffa0]", // letters without a shape
    "[\\ufe00-\\ufe0d\\u{e0100}-\\u{e01ef}]", // selectors of a form, but for those of emoji
  ].join("|"),
  "gu",
);
const SIGNS = { "\n": "⏎\n", "\t": "→\t" };

/**
 * @param {string} text
 * @returns {(string | import("../../figures/vnode.js").VNode)[]} children for `h`
 */
export function shown(text) {
  const found = [];
  let from = 0;
  for (const { 0: hidden, index } of text.matchAll(HIDDEN)) {
    found.push(text.slice(from, index), sign(hidden));
    from = index + hidden.length;
  }
  return [...found, text.slice(from)];
}

function sign(hidden) {
  if (Object.hasOwn(SIGNS, hidden)) return h("span", { class: "run-sign" }, SIGNS[hidden]);
  const number = hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return h("span", { class: "run-sign run-sign-number" }, `U+${number}`);
}
