/**
 * The points of a chart's lines: thinned to what a picture can show, aligned for uPlot, and read at a place of the axis. A
 * line of 100,000 points costs a cursor two binary searches, and a picture some thousand points. No DOM.
 */

import { linearScale, logScale } from "../../plots/scale.js";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color name of a custom property, such as "--series-1"
 * @property {number[]} x rising places on the axis: optimizer steps, unless `axis` says otherwise
 * @property {number[]} y
 * @property {boolean} [dashed] planned rather than measured
 * @property {boolean} [faint] of an attempt that was abandoned
 * @property {boolean} [thin] one of several details
 * @property {boolean} [pale] the shadow of another line
 * @property {boolean} [dots] few points: mark each
 * @property {string} [end] text at the end of the line instead of the label; "" for none
 *
 * @typedef {object} Chart
 * @property {string} [of] the run: another one resets the zoom
 * @property {string} title
 * @property {string} unit of the values: "nats", "1", …
 * @property {string} [axis] what x counts: "step", unless it says otherwise
 * @property {number} room pixels beside the plot for the labels at the line ends
 * @property {string} note one sentence: what to look at
 * @property {Line[]} lines
 * @property {boolean} [zero] the axis starts at zero
 * @property {boolean} [log] the axis is logarithmic; every finite value is above zero
 * @property {number} [lastStep] right end of the axis; grows with the data
 * @property {number} [planned] planned steps
 * @property {{x: number, label: string, bad?: boolean}[]} [marks] vertical lines
 */

const BUCKETS = 1500; // more than the widest chart has pixels
const MOST_POINTS = 4; // in a bucket of a line that is drawn as it is

/**
 * Returns a line with at most a few thousand points in a range, the smallest and the largest value of every bucket among
 * them, so that no spike is lost, and with what lies next to the range; a value that is no number stays a gap.
 * @param {Line} line
 * @param {[number, number] | null} range null for all
 * @param {number} [buckets]
 * @returns {Line}
 */
export function thinned(line, range, buckets = BUCKETS) {
  const { x, y } = line;
  if (x.length <= MOST_POINTS * buckets) return line;
  const from = range ? Math.max(0, lastAt(x, range[0])) : 0;
  const to = range ? Math.min(x.length, lastAt(x, range[1]) + 2) : x.length;
  const wide = Math.max(1, (to - from) / buckets);
  const kept = [from];
  for (let start = from; start < to; start += wide) kept.push(...extremes(y, Math.floor(start), Math.min(to, Math.floor(start + wide))));
  kept.push(to - 1);
  const places = kept.filter((place, index) => index === 0 || place > kept[index - 1]);
  return { ...line, x: places.map((place) => x[place]), y: places.map((place) => y[place]) };
}

/** Returns where the smallest and the largest value lie, and the first that is no number, in their order. */
function extremes(y, from, to) {
  let [low, high, gap] = [-1, -1, -1];
  for (let at = from; at < to; at += 1) {
    if (!Number.isFinite(y[at])) {
      if (gap < 0) gap = at;
    } else {
      if (low < 0 || y[at] < y[low]) low = at;
      if (high < 0 || y[at] > y[high]) high = at;
    }
  }
  return [low, high, gap].filter((at) => at >= 0).sort((a, b) => a - b);
}

/** Returns the index of the last of rising numbers that is not above `place`; -1 where all are. */
export function lastAt(x, place) {
  let [low, high] = [0, x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] <= place) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * Returns what a line says at a place: its newest value there or before; null before its first point and beyond its last.
 * @param {Line} line
 * @param {number} place
 * @returns {{x: number, y: number} | null}
 */
export function valueAt({ x, y }, place) {
  const at = lastAt(x, place);
  return at < 0 || place > x[x.length - 1] ? null : { x: x[at], y: y[at] };
}

/** Returns the point of any line that lies nearest to a place; null without points. @param {Line[]} lines */
export function nearestPlace(lines, place) {
  const near = lines.flatMap(({ x }) => [x[lastAt(x, place)], x[lastAt(x, place) + 1]]).filter((each) => each !== undefined);
  return near.length ? near.reduce((a, b) => (Math.abs(b - place) < Math.abs(a - place) ? b : a)) : null;
}

/** Returns the next point of any line to the right of a place, or to its left; null where there is none. @param {Line[]} lines */
export function nextPlace(lines, place, isRight) {
  const beside = ({ x }) => {
    let at = lastAt(x, place);
    if (isRight) return x[at + 1];
    while (x[at] === place) at -= 1;
    return x[at];
  };
  const found = lines.map(beside).filter((each) => each !== undefined);
  if (found.length === 0) return null;
  return isRight ? Math.min(...found) : Math.max(...found);
}

/** Returns the range from step 0 to the last one, or to the planned end. @param {{lines: Line[], lastStep?: number}} chart @returns {[number, number]} */
export function xRange({ lastStep, lines }) {
  const [first, last] = extentOf(lines) ?? [0, 0];
  return [Math.min(0, first), Math.max(lastStep ?? 0, last, 1)];
}

/**
 * Returns the scale of the values of a chart, as of plots.
 * @param {{log?: boolean, zero?: boolean}} chart
 * @param {[number, number] | null} extent of the values in sight; null without any
 * @param {[number, number]} pixels of its lower and its upper end
 */
export function valueScale({ log = false, zero = false }, extent, pixels) {
  const [low, high] = extent ?? [Number(log), 1];
  const count = Math.max(2, Math.round(Math.abs(pixels[1] - pixels[0]) / 48));
  return (log ? logScale : linearScale)([zero && !log ? Math.min(0, low) : low, high], pixels, { count, nice: true });
}

/** Pixels between two labels at line ends. */
export const GAP = 14;

/** Moves the `y` of labels apart where they would touch, and none below `lowest`. @param {{y: number}[]} ends sorted anew */
export function moveApart(ends, gap, lowest) {
  ends.sort((a, b) => a.y - b.y);
  for (let at = 1; at < ends.length; at += 1) ends[at].y = Math.max(ends[at].y, ends[at - 1].y + gap);
  ends.forEach((end, at) => (end.y = Math.min(end.y, lowest - (ends.length - 1 - at) * gap)));
}

/** Returns the classes of a line's swatch. @param {Line} line */
export function keyOf({ color, dashed }) {
  return `run-key ${color.slice(2)}${dashed ? " run-key-dashed" : ""}`;
}

/** Returns the first and the last point of all lines; null without points. @param {Line[]} lines @returns {[number, number] | null} */
export function extentOf(lines) {
  const drawn = lines.filter(({ x }) => x.length);
  return drawn.length ? [Math.min(...drawn.map(({ x }) => x[0])), Math.max(...drawn.map(({ x }) => x[x.length - 1]))] : null;
}

/**
 * Aligns lines for uPlot.
 * @param {Line[]} lines each with rising x
 * @returns {(number | null | undefined)[][]} steps, then one column a line. `undefined` where a line
 *   has no point (it is drawn through), `null` where its value is not a finite number (a gap)
 */
export function alignedData(lines) {
  const steps = commonSteps(lines.map((line) => line.x));
  return [steps, ...lines.map((line) => column(line, steps))];
}

/**
 * Finds points that no line reaches, because their neighbours are gaps: they are drawn as dots.
 * @param {(number | null | undefined)[]} values a column of `alignedData`
 * @returns {number[]} their indices
 */
export function lonePoints(values) {
  const lone = [];
  let last = -1; // of the stretch without a gap that ends here
  let count = 0;
  const close = () => count === 1 && lone.push(last);
  values.forEach((value, place) => {
    if (value === undefined) return;
    if (value === null) {
      close();
      count = 0;
    } else {
      last = place;
      count += 1;
    }
  });
  close();
  return lone;
}

function commonSteps(lists) {
  const longest = lists.reduce((a, b) => (b.length > a.length ? b : a), []);
  const extra = new Set(lists.flatMap((x) => (x === longest ? [] : stepsBeside(longest, x))));
  const steps = [];
  let place = 0;
  for (const step of [...extra].sort((a, b) => a - b)) {
    while (longest[place] < step) steps.push(longest[place++]);
    steps.push(step);
  }
  return steps.length ? steps.concat(longest.slice(place)) : longest.slice();
}

/** The steps of `x` that are not in `known`; both rise, so each is walked once. */
function stepsBeside(known, x) {
  let place = 0;
  return x.filter((step) => {
    while (known[place] < step) place += 1;
    return known[place] !== step;
  });
}

function column({ x, y }, steps) {
  const values = new Array(steps.length).fill(undefined);
  let place = 0;
  for (let index = 0; index < x.length; index += 1) {
    while (steps[place] < x[index]) place += 1;
    values[place] = Number.isFinite(y[index]) ? y[index] : null;
  }
  return values;
}
