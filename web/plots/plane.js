/**
 * The plane of learning and forgetting: held-out rows of the task that are right to the right, rows of what the model
 * knew that are still right upwards. Each run is a path through its evaluations, with its number at the end.
 * Pure: data in, tree out.
 */

import { h } from "../figures/vnode.js";
import { axisTitleView, xAxisView, yAxisView } from "./guides.js";
import { LEADING } from "./text.js";

const HEIGHT = 340;
const MARGIN = { top: 30, right: 18, bottom: 44, left: 52 };
const TICKS = [0, 0.25, 0.5, 0.75, 1];

/**
 * @typedef {{task: number, general: number}} Score shares of rows, from 0 to 1
 * @typedef {Score & {alpha: number, name: string, isChosen: boolean, says: string[]}} Blended a model between the one before and
 *   the trained one; what has a name is on no curve
 * @typedef {{points: Blended[]}} Blend
 */

/**
 * @param {{task: number, general: number, says: string} | null} challenge
 * @param {{number: number, path: Score[], title: string, isShown: boolean, hasPoints?: boolean, blends?: Blend[]}[]} runs
 * @param {number} [width] pixels
 * @param {Score[]} [frontier] points that are joined by a line of their own
 */
export function planeView(challenge, runs, width = 640, frontier = []) {
  const at = ({ task, general }) => [
    round(MARGIN.left + task * (width - MARGIN.left - MARGIN.right)),
    round(HEIGHT - MARGIN.bottom - general * (HEIGHT - MARGIN.bottom - MARGIN.top)),
  ];
  const ends = runs.map(({ number, title, path }) => `${number}, ${title}: learned ${percent(path.at(-1).task)}, kept ${percent(path.at(-1).general)}`);
  const label = `What was learned, and what was kept. ${ends.length ? ends.join("; ") : "No run of yours yet"}.`;
  return [
    h(
      "svg",
      { class: "page-run-svg drawing", viewBox: `0 0 ${width} ${HEIGHT}`, role: runs.some(({ blends }) => blends?.length) ? "group" : "img", "aria-label": label },
      axesView(at, width),
      challenge && challengeView(at(challenge), at({ task: 1, general: 1 })),
      frontier.length > 1 && h("polyline", { class: "page-run-frontier", points: frontier.map((point) => at(point).join()).join(" ") }),
      startView(at(challenge ? { task: 0, general: 1 } : (runs[0]?.path[0] ?? { task: 0, general: 1 }))),
      runs.map(({ number, blends = [] }) => blends.map(({ points }) => blendView(points.map((point) => [...at(point), point]), number))),
      runs.map((run) => runView(run.path.map(at), run)),
    ),
    challenge && h("p", { class: "faint" }, challenge.says),
  ];
}

function round(value) {
  return Math.round(value * 10) / 10;
}

export function percent(share) {
  return `${Math.round(100 * share)}%`;
}

function axesView(at, width) {
  const right = width - MARGIN.right;
  return h(
    "g",
    null,
    yAxisView({ left: MARGIN.left, right }, TICKS.map((share) => ({ at: at({ task: 0, general: share })[1], label: percent(share) }))),
    xAxisView(HEIGHT - MARGIN.bottom, TICKS.map((share) => ({ at: at({ task: share, general: 0 })[0], rows: [percent(share)] })), true),
    axisTitleView("learned: right rows of the task →", { x: right, y: HEIGHT - 6, anchor: "end" }),
    axisTitleView("↑ kept: right rows of what it knew", { x: MARGIN.left, y: 14 }),
  );
}

function challengeView([left, bottom], [right, top]) {
  const box = { x: left, y: top - 8, width: round(right - left + 8), height: round(bottom - top + 8) };
  return h("g", { class: "page-run-challenge" }, h("rect", box), h("text", { x: left - 6, y: top + 4, "text-anchor": "end" }, "challenge"));
}

function startView([left, top]) {
  return h(
    "g",
    { class: "page-run-dot page-run-dot-start" },
    h("circle", { cx: left, cy: top, r: 5 }),
    h("text", { x: left + 10, y: top + 4 }, "before"),
  );
}

function runView(points, { number, title, isShown, hasPoints }) {
  const [left, top] = points.at(-1);
  return h(
    "g",
    { class: isShown ? "page-run-dot page-run-dot-run page-run-dot-shown" : "page-run-dot page-run-dot-run", "data-number": number },
    h("title", null, title),
    h("path", { d: `M${points.map((point) => point.join(",")).join("L")}` }),
    hasPoints && points.slice(0, -1).map(([cx, cy]) => h("circle", { class: "page-run-step", cx, cy, r: 2.5 })),
    h("circle", { cx: left, cy: top, r: 10 }),
    h("text", { x: left, y: top + 4, "text-anchor": "middle" }, number),
  );
}

const LABEL_ROOM = 22; // pixels between points whose α is written
const SAYS_TOP = HEIGHT - MARGIN.bottom - 3 * LEADING;

/** Draws a curve over α, and what is on none; what a point says is drawn while it is pointed at or has the focus. */
function blendView(points, number) {
  const curve = points.filter(([, , { name }]) => !name);
  const labelled = [];
  for (const point of [...curve].sort(([, , a], [, , b]) => b.isChosen - a.isChosen)) {
    if (labelled.every((other) => Math.hypot(other[0] - point[0], other[1] - point[1]) >= LABEL_ROOM)) labelled.push(point);
  }
  return h(
    "g",
    { class: "page-run-dot-run plane-blend", "data-number": number },
    h("polyline", { points: curve.map(([left, top]) => `${left},${top}`).join(" ") }),
    labelled.map(([left, top, { alpha }]) => h("text", { class: "plot-tick", x: left - 8, y: top + 14, "text-anchor": "end" }, `α ${alpha}`)),
    points.map(([left, top, { name, isChosen, says }]) =>
      h(
        "g",
        { class: isChosen ? "plane-point plane-point-chosen" : "plane-point", tabindex: 0, role: "img", "aria-label": says.join("; ") },
        name ? h("path", { d: `M${left},${round(top - 5)}l5,5l-5,5l-5,-5z` }) : h("circle", { cx: left, cy: top, r: isChosen ? 6 : 4 }),
        says.map((line, row) => h("text", { class: "plane-says", x: MARGIN.left + 10, y: SAYS_TOP + row * LEADING }, line)),
      ),
    ),
  );
}
