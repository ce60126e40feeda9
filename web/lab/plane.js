/**
 * The plane of learning and forgetting: task loss to the right, loss on what it knew upwards, both
 * logarithmic. Letters are the runs of docs/forgetting.md, numbers the reader's own; the best of
 * these, which no other beats at both, are joined. Pure: data in, tree out.
 */

import { formatLoss } from "../figures/number.js";
import { h } from "../figures/vnode.js";
import { axisTitleView, xAxisView, yAxisView } from "../plots/guides.js";
import { logScale } from "../plots/scale.js";

const HEIGHT = 340;
const MARGIN = { top: 30, right: 14, bottom: 44, left: 52 };
const TASK = [0.15, 25]; // each axis grows with the runs that lie beyond it
const GENERAL = [0.03, 1];
const FLOOR = 1e-3; // nats: what lies lower is drawn here

/** @typedef {{task: number, general: number}} Score losses in nats a token */

/**
 * @param {{start: Score, known: (Score & {title: string, flags: string})[], text: string}} plane
 * @param {{task: number, general: number, says: string}} challenge
 * @param {{number: number, task: number, general: number, title: string, isShown: boolean}[]} runs
 * @param {number} [width] pixels
 */
export function planeView(plane, challenge, runs, width = 640) {
  const wide = around(TASK, runs.map(({ task }) => task));
  const high = around(GENERAL, runs.map(({ general }) => general));
  const x = logScale(wide, [MARGIN.left, width - MARGIN.right], { count: width / 90, nice: false });
  const y = logScale(high, [HEIGHT - MARGIN.bottom, MARGIN.top], { count: 5, nice: false });
  const at = ({ task, general }) => [x.map(floored(task)), y.map(floored(general))].map(round);
  const scores = runs.map(({ number, title, task, general }) => `${number}, ${title}: task ${formatLoss(task)}, old ${formatLoss(general)}`);
  const label = `Task loss and loss on what it knew. ${scores.length ? scores.join("; ") : "No run of yours yet"}.`;
  return [
    h(
      "svg",
      { class: "page-run-svg drawing", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
      axesView(x, y, width),
      challengeView(at(challenge), challenge),
      paretoView(runs.map(at), x, y),
      plane.known.map((dot, index) => knownView(at(dot), index, dot)),
      startView(at(plane.start)),
      runs.map((run) => runView(at(run), run)),
    ),
    h("p", { class: "faint" }, challenge.says),
    h(
      "details",
      { class: "page-run-known soft" },
      h("summary", null, plane.text),
      h("ol", { type: "a" }, plane.known.map(({ title, flags, task, general }) =>
        h("li", null, `${title}: task ${formatLoss(task)}, old ${formatLoss(general)}`, flags && [" ", h("code", null, flags)]),
      )),
    ),
  ];
}

/** A range of an axis, made wide enough for values: a loss may be huge. */
function around([low, high], values) {
  const losses = values.map(floored);
  return [Math.min(low, ...losses.map((value) => value / 1.3)), Math.max(high, ...losses.map((value) => value * 1.3))];
}

function floored(loss) {
  return Math.max(loss, FLOOR);
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function axesView(x, y, width) {
  const bottom = HEIGHT - MARGIN.bottom;
  const right = width - MARGIN.right;
  return h(
    "g",
    null,
    yAxisView({ left: MARGIN.left, right }, y.ticks.map(({ value, label }) => ({ at: y.map(value), label }))),
    xAxisView(bottom, x.ticks.map(({ value, label }) => ({ at: x.map(value), rows: [label] })), true),
    axisTitleView("loss on the task →", { x: right, y: HEIGHT - 6, anchor: "end" }),
    axisTitleView("↑ loss on what it knew (nats a token)", { x: MARGIN.left, y: 14 }),
  );
}

function challengeView([right, top]) {
  const bottom = HEIGHT - MARGIN.bottom;
  const box = { x: MARGIN.left, y: top, width: round(right - MARGIN.left), height: round(bottom - top) };
  return h("g", { class: "page-run-challenge" }, h("rect", box), h("text", { x: MARGIN.left + 6, y: bottom - 6 }, "challenge"));
}

/** Steps through the runs that no other beats at both losses. */
function paretoView(points, x, y) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  const best = sorted.filter(([, top], index) => sorted.slice(0, index).every(([, other]) => other < top));
  if (best.length < 2) return null;
  const path = best.map(([left, top], index) => (index === 0 ? `M${left},${top}` : `H${left}V${top}`)).join("");
  return h("path", { class: "page-run-pareto", d: path });
}

function knownView([left, top], index, { title, flags }) {
  const letter = String.fromCharCode(97 + index);
  return h(
    "g",
    { class: "page-run-dot page-run-dot-known" },
    h("title", null, `${letter}: ${title}${flags ? `, ${flags}` : ""}`),
    h("circle", { cx: left, cy: top, r: 8 }),
    h("text", { x: left, y: top + 4, "text-anchor": "middle" }, letter),
  );
}

function startView([left, top]) {
  return h(
    "g",
    { class: "page-run-dot page-run-dot-start" },
    h("circle", { cx: left, cy: top, r: 5 }),
    h("text", { x: left - 10, y: top - 10, "text-anchor": "end" }, "before: θ₀"),
  );
}

function runView([left, top], { number, title, isShown }) {
  return h(
    "g",
    { class: isShown ? "page-run-dot page-run-dot-run page-run-dot-shown" : "page-run-dot page-run-dot-run", "data-number": number },
    h("title", null, title),
    h("circle", { cx: left, cy: top, r: 10 }),
    h("text", { x: left, y: top + 4, "text-anchor": "middle" }, number),
  );
}
