/**
 * The planner's figures: GPU memory at the peak, and over one step.
 *
 * Drawn in per cent of the width, so that one drawing fits every screen, and in tints with an
 * outline: all of it is prediction. Every text comes from `unfrozen.planner`; what is
 * computed here is where things stand.
 */

import { h } from "../figures/vnode.js";

const BAR = { top: 22, height: 46, below: 24 };
const ROW_HEIGHT = 26;
const LABELLED = 0.3; // of the width: a part that wide carries its name
const LABELLED_WIDE = 0.085; // the same where the figure has room

/** The stacked bar of GPU memory at the peak, with the GPU's limit and the error band. */
export function barView(bar) {
  const at = scale(bar.most);
  const { top, height, below } = BAR;
  const bottom = top + height;
  const words = [
    `${bar.total.text} at the peak of a step`,
    bar.limit && `on a GPU of ${bar.limit.label}`,
    `error band ${bar.band.text}`,
  ];
  return h(
    "svg",
    { class: "mp-bar drawing", height: bottom + below, role: "img", "aria-label": `${words.filter(Boolean).join(", ")}.` },
    marksView(bar, at, top, bottom),
    partsView(bar.parts, at, top, height),
    overView(bar, at, top, height),
    bandView(bar.band, at, top + height / 2),
    bar.limit && limitView(bar.limit, at, top - 6, bottom + 4),
    bar.limit && limitLabel(bar.limit, bar.most, at),
  );
}

/** The step as rows on one scale: when it happens, what it holds, how much that is. */
export function timelineView(timeline) {
  const at = scale(timeline.most);
  const last = timeline.rows.length - 1;
  return h(
    "div",
    { class: "mp-timeline" },
    h(
      "ol",
      { class: "mp-rows" },
      timeline.rows.map((row, index) => rowView(row, timeline, at, index === last)),
    ),
    h(
      "p",
      { class: "mp-scale", "aria-hidden": "true" },
      h(
        "svg",
        { class: "drawing", height: 20 },
        timeline.marks.map((mark, index) => tickText(mark, index, timeline, at, 14)),
      ),
    ),
    legendView(timeline),
    h("p", { class: "mp-sentence soft" }, timeline.sentence),
    tableView(timeline),
  );
}

function rowView(row, { limit }, at, isLast) {
  return h(
    "li",
    { class: row.peak ? "mp-row mp-row-peak entry" : "mp-row entry" },
    h("span", { class: "mp-row-label" }, row.label, row.peak && [" ", h("span", { class: "mp-tag" }, "peak")]),
    h(
      "svg",
      { class: "mp-row-bar drawing", height: ROW_HEIGHT, "aria-hidden": "true" },
      h("line", { class: "rule", x1: "0%", x2: "0%", y1: 0, y2: ROW_HEIGHT }),
      row.parts.map((part, index) => partView(part, row.parts, index, at, 4, ROW_HEIGHT - 8)),
      limit && limitView(limit, at, 0, isLast ? ROW_HEIGHT + 4 : ROW_HEIGHT),
    ),
    h("span", { class: "mp-row-total entry-value" }, row.text),
  );
}

/** Per cent of the width for bytes, to a hundredth. */
function scale(most) {
  return (bytes) => `${Math.round((10_000 * bytes) / most) / 100}%`;
}

function before(parts, index) {
  return parts.slice(0, index).reduce((sum, part) => sum + part.bytes, 0);
}

function partView(part, parts, index, at, y, height) {
  return h(
    "rect",
    { class: `predicted c-${part.key}`, x: at(before(parts, index)), width: at(part.bytes), y, height },
    h("title", null, `${part.label}: ${part.text}`),
  );
}

function partsView(parts, at, top, height) {
  return parts.map((part, index) => {
    const share = Number.parseFloat(at(part.bytes)) / 100;
    return [
      partView(part, parts, index, at, top, height),
      share >= LABELLED_WIDE &&
        h(
          "svg",
          {
            class: share >= LABELLED ? "mp-words" : "mp-words mp-if-wide",
            x: at(before(parts, index)),
            width: at(part.bytes),
            y: top,
            height,
            "aria-hidden": "true",
          },
          h("text", { class: "mp-word", x: 7, y: 19 }, part.label),
          h("text", { class: "mp-word mp-word-size numeric", x: 7, y: 36 }, part.text),
        ),
    ];
  });
}

/** What does not fit: everything beyond the GPU's limit. */
function overView({ total, limit }, at, top, height) {
  if (!limit || total.bytes <= limit.bytes) return null;
  const beyond = total.bytes - limit.bytes;
  return h("rect", { class: "mp-over", x: at(limit.bytes), width: at(beyond), y: top, height });
}

function bandView({ low, high }, at, y) {
  const cap = (bytes) => h("line", { x1: at(bytes), x2: at(bytes), y1: y - 5, y2: y + 5 });
  const line = h("line", { x1: at(low), x2: at(high), y1: y, y2: y });
  return h("g", { class: "mp-band" }, line, cap(low), cap(high));
}

function limitView(limit, at, y1, y2) {
  return h("line", { class: "limit", x1: at(limit.bytes), x2: at(limit.bytes), y1, y2 });
}

/** The GPU's name, on the side of its line that has more room. */
function limitLabel({ bytes, label }, most, at) {
  const end = bytes > most / 2;
  const attrs = { class: "limit-label", x: at(bytes), y: 11, "text-anchor": end ? "end" : "start" };
  return h("text", { ...attrs, dx: end ? 1 : -1 }, label);
}

function marksView(bar, at, top, bottom) {
  return bar.marks.map((mark, index) => [
    h("line", { class: "rule", x1: at(mark.bytes), x2: at(mark.bytes), y1: top, y2: bottom + 5 }),
    tickText(mark, index, bar, at, bottom + 19),
  ]);
}

/** The last mark carries the unit; marks near the edge keep their text inside. */
function tickText(mark, index, { marks, unit, most }, at, y) {
  const isLast = index === marks.length - 1;
  const anchor = index === 0 ? "start" : mark.bytes > 0.94 * most ? "end" : "middle";
  const text = isLast ? `${mark.text} ${unit}` : mark.text;
  return h("text", { class: "numeric", x: at(mark.bytes), y, "text-anchor": anchor }, text);
}

function legendView({ rows, limit }) {
  const labels = new Map(rows.flatMap(({ parts }) => parts.map(({ key, label }) => [key, label])));
  return h(
    "ul",
    { class: "legend" },
    [...labels].map(([key, label]) => h("li", null, swatch(key), label)),
    limit && h("li", null, h("span", { class: "swatch-line" }), limit.label),
  );
}

/** A square in the colour of a component. */
export function swatch(key) {
  return h("span", { class: `swatch c-${key}`, "aria-hidden": "true" });
}

/** The same numbers for those who read rather than look. */
function tableView({ rows }) {
  const labels = new Map(rows.flatMap(({ parts }) => parts.map(({ key, label }) => [key, label])));
  const cell = (row, key) => row.parts.find((part) => part.key === key)?.text ?? "–";
  return h(
    "details",
    { class: "fold", "data-key": "timeline-table" },
    h("summary", null, "These numbers as a table"),
    h(
      "div",
      { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "The plan's memory by instant and component" },
      h(
        "table",
        { class: "mp-table numeric" },
        h(
          "thead",
          null,
          h("tr", null, h("th", { scope: "col" }, "Instant"), [...labels.values(), "Total"].map((label) => h("th", { scope: "col" }, label))),
        ),
        h(
          "tbody",
          null,
          rows.map((row) =>
            h(
              "tr",
              null,
              h("th", { scope: "row" }, row.label),
              [...labels.keys()].map((key) => h("td", null, cell(row, key))),
              h("td", null, row.text),
            ),
          ),
        ),
      ),
    ),
  );
}
