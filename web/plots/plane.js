/**
 * The plane of learning and forgetting: held-out rows of the task that are right to the right, rows of what the model
 * knew that are still right upwards. Each run is a path through its evaluations, with its number at the end. The axes reach
 * as far as the points and their intervals need; with a challenge from 0 to 100 %, so that no run moves another.
 * Pure: data in, tree out.
 */

import { h } from "../figures/vnode.js";
import { axisTitleView, xAxisView, yAxisView } from "./guides.js";
import { round } from "./marks.js";
import { linearScale } from "./scale.js";
import { FONT_SIZE, LEADING, textWidth } from "./text.js";

const HEIGHT = 340;
const MARGIN = { top: 30, right: 18, bottom: 44, left: 52 };
const TICKS = 5;
const LEAST_SPAN = 0.1; // of an axis, so that its ticks are whole percents
const BADGE = 20; // pixels across the number of a run
const AROUND = [[0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1]];

/**
 * @typedef {{task: number, general: number}} Score shares of rows, from 0 to 1
 * @typedef {Score & {alpha: number, name: string, isChosen: boolean, says: string[]}} Blended a model between the one before and
 *   the trained one; what has a name is on no curve
 * @typedef {{points: Blended[]}} Blend
 * @typedef {{task: [number, number], general: [number, number]}} Within the intervals of a path's last point
 */

/**
 * @param {{task: number, general: number, says: string} | null} challenge
 * @param {{number: number, color?: string, path: Score[], title: string, isShown: boolean, hasPoints?: boolean, blends?: Blend[], within?: Within}[]} runs
 * @param {number} [width] pixels
 * @param {Score[]} [frontier] points that are joined by a line of their own
 */
export function planeView(challenge, runs, width = 640, frontier = []) {
  const axes = axesOf(challenge ? [{ task: 0, general: 0 }, { task: 1, general: 1 }] : runs.flatMap(pointsOf), width);
  const at = ({ task, general }) => [round(axes.x.map(task)), round(axes.y.map(general))];
  const start = at(challenge ? { task: 0, general: 1 } : (runs[0]?.path[0] ?? { task: 0, general: 1 }));
  const taken = [start, ...runs.flatMap(({ blends = [] }) => blends.flatMap(({ points }) => points.map(at)))].map((point) => [...point, 10, 10]);
  const badges = runs.map(({ path }) => badgePlace(at(path.at(-1)), taken, width));
  taken.push(...runs.flatMap(({ path }) => path.map((point) => [...at(point), 6, 6])));
  const ends = runs.map(({ number, title, path }) => `${number}, ${title}: learned ${percent(path.at(-1).task)}, kept ${percent(path.at(-1).general)}`);
  const label = `What was learned, and what was kept. ${ends.length ? ends.join("; ") : "No run of yours yet"}.`;
  return [
    h(
      "svg",
      { class: "page-run-svg drawing", viewBox: `0 0 ${width} ${HEIGHT}`, role: runs.some(({ blends }) => blends?.length) ? "group" : "img", "aria-label": label },
      axesView(axes, width),
      challenge && challengeView(at(challenge), at({ task: 1, general: 1 })),
      frontier.length > 1 && h("polyline", { class: "page-run-frontier", points: frontier.map((point) => at(point).join()).join(" ") }),
      runs.map((run) => run.within && withinView(run, at)),
      runs.map((run, index) => runView(run.path.map(at), badges[index], run)),
      runs.map(({ color, blends = [] }) => blends.map(({ points }) => blendView(points.map((point) => [...at(point), point]), color, taken, width))),
      startView(start, taken, width),
    ),
    challenge ? h("p", { class: "faint" }, challenge.says) : h("p", { class: "run-chart-note quiet" }, reachText(axes)),
  ];
}

/** Returns all that a run needs room for. */
function pointsOf({ path, blends = [], within }) {
  const ends = within ? [0, 1].map((end) => ({ task: within.task[end], general: within.general[end] })) : [];
  return [...path, ...ends, ...blends.flatMap(({ points }) => points)];
}

/** @param {Score[]} points @param {number} width */
function axesOf(points, width) {
  const scale = (shares, pixels) => linearScale(reachOf(shares), pixels, { count: TICKS, nice: true });
  return {
    x: scale(points.map(({ task }) => task), [MARGIN.left, width - MARGIN.right]),
    y: scale(points.map(({ general }) => general), [HEIGHT - MARGIN.bottom, MARGIN.top]),
  };
}

function reachOf(shares) {
  const [low, high] = [Math.min(...shares), Math.max(...shares)];
  const more = Math.max(0, LEAST_SPAN - (high - low)) / 2;
  return [Math.max(0, Math.min(low - more, 1 - LEAST_SPAN)), Math.min(1, Math.max(high + more, LEAST_SPAN))];
}

/** Says what the axes leave out. */
function reachText({ x, y }) {
  const cut = [["learned", x.domain], ["kept", y.domain]].filter(([, [low, high]]) => low > 0 || high < 1);
  return cut.length === 0 ? "" : `Axes cut to the points: ${cut.map(([name, domain]) => `${name} ${domain.map(percent).join(" to ")}`).join(", ")}.`;
}

/**
 * Returns the first place at which a box covers none of those taken, and takes it; null for none.
 * @param {number[][]} taken boxes: their middle, width and height
 * @param {number[][]} places middles of the box, of which those outside of `frame` do not count
 */
function freePlace(taken, places, [wide, high], [left, right, bottom]) {
  const isInside = ([x, y]) => x >= left && x <= right && y >= MARGIN.top && y <= bottom;
  const isFree = ([x, y]) => taken.every(([a, b, w, h]) => Math.abs(a - x) >= (w + wide) / 2 || Math.abs(b - y) >= (h + high) / 2);
  const found = places.find((place) => isInside(place) && isFree(place));
  if (found) taken.push([...found, wide, high]);
  return found ?? null;
}

/** Returns where the number of a run stands: at its last point, or beside it where another is. */
function badgePlace([left, top], taken, width) {
  const beside = [1.3, 2.6].flatMap((far) => AROUND.map(([x, y]) => [round(left + far * BADGE * x), round(top + far * BADGE * y)]));
  const frame = [MARGIN.left, width - MARGIN.right, HEIGHT - MARGIN.bottom];
  return freePlace(taken, [[left, top], ...beside], [BADGE, BADGE], frame) ?? [left, top];
}

/** Returns where a word beside a point begins, as x and y of the text; null where it would cover another. */
function wordPlace(word, [left, top], taken, width) {
  const wide = textWidth(word, FONT_SIZE);
  const far = wide / 2 + 9;
  const places = [[left + far, top], [left - far, top], ...[-17, 17].flatMap((down) => [far, -far, 0].map((right) => [left + right, top + down]))];
  const frame = [MARGIN.left + wide / 2, width - wide / 2, HEIGHT - MARGIN.bottom];
  const found = freePlace(taken, places, [wide, FONT_SIZE], frame);
  return found && { x: round(found[0] - wide / 2), y: round(found[1] + 4) };
}

export function percent(share) {
  return `${Math.round(100 * share)}%`;
}

function axesView({ x, y }, width) {
  const right = width - MARGIN.right;
  return h(
    "g",
    null,
    yAxisView({ left: MARGIN.left, right }, y.ticks.map(({ value }) => ({ at: y.map(value), label: percent(value), isBase: value === 0 }))),
    xAxisView(HEIGHT - MARGIN.bottom, x.ticks.map(({ value }) => ({ at: x.map(value), rows: [percent(value)] })), true),
    axisTitleView("learned: right rows of the task →", { x: right, y: HEIGHT - 6, anchor: "end" }),
    axisTitleView("↑ kept: right rows of what it knew", { x: MARGIN.left, y: 14 }),
  );
}

function challengeView([left, bottom], [right, top]) {
  const box = { x: left, y: top - 8, width: round(right - left + 8), height: round(bottom - top + 8) };
  return h("g", { class: "page-run-challenge" }, h("rect", box), h("text", { x: left - 6, y: top + 4, "text-anchor": "end" }, "challenge"));
}

function startView([left, top], taken, width) {
  const place = wordPlace("before", [left, top], taken, width);
  return h(
    "g",
    { class: "page-run-dot page-run-dot-start" },
    h("circle", { cx: left, cy: top, r: 5 }),
    place && h("text", place, "before"),
  );
}

/** Returns the classes of what is drawn of a run, in the colour of its curves. */
function classOf(name, color) {
  return color ? `${name} plane-run ${color.slice(2)}` : name;
}

/** Draws the intervals of a run's last point as a cross. */
function withinView({ path, within, color }, at) {
  const { task, general } = path.at(-1);
  const ends = [0, 1].map((end) => [at({ task: within.task[end], general }), at({ task, general: within.general[end] })]);
  const lines = [0, 1].map((way) => `M${ends[0][way]}L${ends[1][way]}`);
  return h("path", { class: classOf("plane-within", color), d: lines.join("") });
}

function runView(points, [left, top], { number, title, isShown, hasPoints, color }) {
  const end = points.at(-1);
  const isBeside = end[0] !== left || end[1] !== top;
  return h(
    "g",
    { class: classOf(`page-run-dot page-run-dot-run${isShown ? " page-run-dot-shown" : ""}`, color) },
    h("title", null, title),
    h("path", { d: `M${points.map((point) => point.join(",")).join("L")}` }),
    isBeside && h("path", { d: `M${end}L${left},${top}`, class: "plane-leader" }),
    (hasPoints ? points.slice(0, isBeside ? undefined : -1) : isBeside ? [end] : []).map(([cx, cy]) => h("circle", { class: "page-run-step", cx, cy, r: 2.5 })),
    h("circle", { cx: left, cy: top, r: 10 }),
    h("text", { x: left, y: top + 4, "text-anchor": "middle" }, number),
  );
}

const NEAR = 8; // pixels between two points of which one covers the other
const SAYS_TOP = HEIGHT - MARGIN.bottom - 3 * LEADING;

/** Returns the points of a curve of which each covers another one as one, with the chosen α first. */
function groupsOf(curve) {
  const groups = [];
  for (const [left, top, { alpha }] of [...curve].sort(([, , a], [, , b]) => b.isChosen - a.isChosen)) {
    const near = groups.find((group) => Math.hypot(group.left - left, group.top - top) < NEAR);
    if (near) near.alphas.push(alpha);
    else groups.push({ left, top, alphas: [alpha] });
  }
  return groups;
}

/** Draws a curve over α, and what is on none; what a point says is drawn while it is pointed at or has the focus. */
function blendView(points, color, taken, width) {
  const curve = points.filter(([, , { name }]) => !name);
  const labels = groupsOf(curve).map(({ left, top, alphas }) => {
    const word = `α ${alphas.join(", ")}`;
    return [word, wordPlace(word, [left, top], taken, width)];
  });
  return h(
    "g",
    { class: classOf("page-run-dot-run plane-blend", color) },
    h("polyline", { points: curve.map(([left, top]) => `${left},${top}`).join(" ") }),
    labels.map(([word, place]) => place && h("text", { class: "plot-tick", ...place }, word)),
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
