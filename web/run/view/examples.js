/** The examples that are trained: the first of them token by token, flaws of all of them, and their lengths. */

import { h } from "../../figures/vnode.js";
import { xAxisView } from "../../plots/guides.js";
import { coveringTicks } from "../../plots/scale.js";
import { barFrame } from "./bars.js";
import { formatCount, formatLoss, formatPercent } from "../../figures/number.js";

const WIDEST = 704; // pixels, as the style has it
const LEGEND = [
  ["read", "context only"],
  ["trained", "trained"],
  ["end", "trained, ends an answer"],
];

/**
 * @param {ReturnType<typeof import("../fold.js").emptyRun>["rows"]} rows
 * @param {number} width pixels
 * @returns {import("../../figures/vnode.js").VNode | null} null for a log without examples
 */
export function examplesView(rows, width) {
  if (!rows) return null;
  const { how, first = [], notes = [], scored } = rows;
  return h(
    "section",
    { class: "run-section" },
    h("h3", { class: "run-chart-title" }, "What is trained"),
    how && h("p", { class: "run-rows-how soft" }, revealHidden(how), "."),
    rows.counts && factsView(rows),
    notes.length > 0 && notesView(notes),
    first.length > 0 && legendView(),
    first.length > 0 && rowList(first, "The first examples"),
    rows.lengths && lengthsView(rows.lengths, rows.padding, Math.min(width, WIDEST)),
    scored && scoredView(scored),
  );
}

function factsView(rows) {
  const { counts, trained_ratio: ratio, ends = [], template_ratio: template, held_out: held } = rows;
  const facts = [
    ["Examples", many(counts.rows), `of ${many(counts.read)} read`],
    ["Tokens", many(counts.tokens), ""],
    ["Trained", ratio === undefined ? many(counts.trained) : formatPercent(ratio), `${many(counts.trained)} tokens`],
    template > 0 && ["Chat template", formatPercent(template), "of the tokens are its own"],
    held?.rows > 0 && ["Held out", many(held.rows), held.trained ? "" : "none of them trained"],
    ends.length > 0 && ["Answers end with", revealHidden(ends[0].text), `${many(ends[0].rows)} examples`],
  ].filter(Boolean);
  const flaws = flawsOf(rows);
  return [
    h(
      "dl",
      { class: "numbers run-numbers" },
      facts.map(([name, value, note]) =>
        h("div", null, h("dt", { class: "soft" }, name), h("dd", null, value), note && h("dd", { class: "run-note faint" }, note)),
      ),
    ),
    flaws.length === 0 && h("p", { class: "run-chart-note quiet" }, "Every example is complete, ends with a stop token and occurs once."),
    flaws.length > 0 && h("ul", { class: "run-rows-flaws soft" }, flaws.map((flaw) => h("li", null, flaw))),
  ];
}

/** Returns a sentence on each flaw of some examples. */
function flawsOf({ counts, repeated_first: first = "", truncated = [], dropped = [], held_out: held }) {
  const rows = (count, one, more) => `${many(count)} ${count === 1 ? `example ${one}` : `examples ${more}`}`;
  return [
    [counts.cut, "is", "are", [` truncated: ${many(counts.cut_tokens)} tokens at the end are lost`, namedView(truncated, ", most at ", answerText), "."]],
    [counts.repeated, "is", "are", [" duplicated, token for token; the first: ", revealHidden(first), "."]],
    [counts.endless, "ends", "end", " without a stop token: the model does not learn to stop there."],
    [counts.untrained, "is", "are", [" dropped, without a token that is trained", namedView(dropped, ": ", lostText), "."]],
    [counts.bad, "is", "are", " dropped: they cannot be read."],
    [counts.replayed, "is", "are", " replayed from earlier data."],
    [held?.trained, "is", "are", " held out and trained as well, token for token: their loss says nothing of new ones."],
  ]
    .filter(([count]) => count > 0)
    .map(([count, one, more, what]) => [rows(count, one, more), what]);
}

/** Names the examples that lost most. */
function namedView(some, start, textOf) {
  return some.map((one, index) => [index ? ", " : start, revealHidden(one.place), ` (${textOf(one)})`]);
}

function answerText({ tokens, answer }) {
  return `${tokensText(tokens)}, ${many(answer)} of its answer`;
}

function lostText({ answer }) {
  return answer > 0 ? `all ${tokensText(answer)} of its answer truncated` : "no answer";
}

function legendView() {
  return h(
    "p",
    { class: "row run-rows-legend soft" },
    LEGEND.map(([as, label]) => h("span", null, partView({ as, texts: ["token"] }), ` ${label}`)),
  );
}

function rowList(rows, label) {
  return h("ol", { class: "run-rows", "aria-label": label }, rows.map(rowView));
}

function rowView({ place, tokens, trained, cut = 0, before = 0, after = 0, parts, loss }) {
  const lost = cut > 0 ? `, ${many(cut)} more truncated` : "";
  return h(
    "li",
    null,
    h(
      "p",
      { class: "row run-row-head quiet numeric" },
      loss !== undefined && h("b", null, `${formatLoss(Number(loss))} nats`),
      h("span", { class: "soft" }, revealHidden(place)),
      h("span", null, tokensText(tokens) + (trained === undefined ? "" : `, ${many(trained)} trained`) + lost),
    ),
    h(
      "p",
      { class: "run-row-text", dir: "auto" },
      before > 0 && gapView(`… ${tokensText(before)} before`),
      parts.map(partView),
      after > 0 && gapView(`… ${tokensText(after)} more`),
    ),
  );
}

/** Draws neighbouring tokens that are trained, or not. Hidden brackets mark them for screen readers. */
function partView({ as, texts }) {
  const tokens = wholeCharacters(texts).map(tokenView);
  if (as === "read") return h("span", { class: "run-part-read soft" }, tokens);
  const [open, close] = as === "end" ? ["[end: ", "]"] : ["[", "]"];
  return h("mark", { class: `run-part-${as}` }, unseen(open), tokens, unseen(close));
}

/** Merges tokens of one character: a text of "" continues the token before it. */
function wholeCharacters(texts) {
  const whole = [];
  for (const text of texts) {
    if (text === "" && whole.length) whole.at(-1).count += 1;
    else whole.push({ text, count: 1 });
  }
  return whole;
}

function tokenView({ text, count }) {
  return h("span", { class: "run-token" }, revealHidden(text), count > 1 && h("sub", null, `${count} tokens`));
}

function unseen(text) {
  return h("span", { class: "visually-hidden" }, text);
}

function gapView(text) {
  return h("span", { class: "run-row-gap faint" }, text);
}

function notesView(notes) {
  return h(
    "ul",
    { class: "run-rows-flaws soft" },
    notes.map(({ text, rows, first }) =>
      h("li", null, `${many(rows)} ${rows === 1 ? "example" : "examples"}: `, revealHidden(text), first && ["; the first: ", revealHidden(first)], "."),
    ),
  );
}

function lengthsView(lengths, padding, width) {
  const { shortest, median, nine_in_ten: most, longest } = lengths;
  return h(
    "figure",
    { class: "run-figure" },
    h("h3", { class: "run-chart-title" }, "Length of the examples"),
    lengths.from?.length > 0 && histogram(lengths, width),
    h(
      "p",
      { class: "run-chart-note quiet" },
      `From ${many(shortest)} to ${many(longest)} tokens; the median is ${many(median)}, the 90th percentile ${many(most)}. `,
      padding && paddingText(padding),
    ),
  );
}

function paddingText({ ratio, sequences, packed }) {
  const share = `With padding, ${formatPercent(ratio)} of the computed tokens would be padding; `;
  const bins = `in at most ${many(sequences)} ${sequences === 1 ? "sequence" : "sequences"} a step`;
  if (packed === undefined) return `${share}packing computes none of it, ${bins}.`;
  return packed ? `${share}this run packs instead, ${bins}.` : `${share}this run pads; packing would compute none of it, ${bins}.`;
}

/** Draws the histogram; a bar's title and the note below give its numbers. */
function histogram({ from, rows, shortest, longest, median }, width) {
  const ticks = coveringTicks(0, Math.max(...rows), 3);
  const frame = barFrame(ticks, { count: from.length, width, height: 96, below: 24, right: 8 });
  const { y, band } = frame;
  const bar = (count, index) =>
    h(
      "rect",
      { class: "run-moved", x: frame.left(index) + 0.5, y: y(count), width: Math.max(1, band - 1), height: y(0) - y(count) },
      h("title", null, `from ${many(from[index])} tokens on: ${many(count)} examples`),
    );
  const ends = [{ at: frame.left(0), rows: [`${many(shortest)} tokens`], anchor: "start" }];
  if (longest > shortest) ends.push({ at: frame.left(from.length), rows: [many(longest)], anchor: "end" });
  return frame.picture(
    `Examples by length, from ${many(shortest)} to ${many(longest)} tokens; the median is ${many(median)}.`,
    many,
    rows.map(bar),
    xAxisView(y(0), ends, false),
  );
}

function scoredView({ rows, mean, hardest = [], easiest = [] }) {
  const note =
    `${many(rows)} examples spread over the data set, each scored alone before the first step: ` +
    `${formatLoss(Number(mean))} nats per trained token on average. An example far above may be wrong; one near 0 teaches nothing.`;
  const named = [
    ["The hardest", hardest],
    ["The easiest", easiest],
  ].filter(([, some]) => some.length > 0);
  return h(
    "details",
    { class: "run-rows-scored" },
    h("summary", null, "Examples that the untrained model finds hardest and easiest"),
    h("p", { class: "run-chart-note quiet" }, note),
    named.map(([title, some]) => [h("h3", { class: "run-chart-title" }, title), rowList(some, title)]),
  );
}

function tokensText(count) {
  return `${many(count)} ${count === 1 ? "token" : "tokens"}`;
}

function many(count) {
  return formatCount(count ?? NaN);
}

const JOINED =
  "Arabic Bengali Devanagari Gujarati Gurmukhi Kannada Khmer Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Tibetan";
const before = JOINED.split(" ").map((script) => `\\p{Script=${script}}`);
const HIDDEN = new RegExp(
  [
    "(?![\\u200c\\u200d])[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cn}\\p{Cs}\\p{Zl}\\p{Zp}]", // controls and unassigned
    `(?<![${before.join("")}\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\ufe0f])[\\u200c\\u200d]`, // joiners that join nothing
    "[\\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]", // spaces other than U+0020
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u2800\\u3164\\uffa0]", // blank letters
    "[\\ufe00-\\ufe0d\\u{e0100}-\\u{e01ef}]", // variation selectors, except those of emoji
  ].join("|"),
  "gu",
);
const SIGNS = { "\n": "⏎\n", "\t": "→\t" };

/**
 * @param {string} text
 * @returns {(string | import("../../figures/vnode.js").VNode)[]} children for `h`
 */
export function revealHidden(text) {
  const found = [];
  let from = 0;
  for (const { 0: hidden, index } of text.matchAll(HIDDEN)) {
    found.push(text.slice(from, index), sign(hidden));
    from = index + hidden.length;
  }
  return [...found, text.slice(from)];
}

function sign(hidden) {
  if (Object.hasOwn(SIGNS, hidden)) return h("span", { class: "run-sign faint" }, SIGNS[hidden]);
  const number = hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return h("span", { class: "run-sign run-sign-number faint" }, `U+${number}`);
}
