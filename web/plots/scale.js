/**
 * From data to pixels and to round tick values. Linear and logarithmic axes, and bands for
 * categories. A scale is `{map, ticks: [{value, label}], domain}`; `map` gives a pixel and, on
 * numeric axes, `invert` gives the value back.
 */

import { logLabels, tickLabels } from "../figures/number.js";

/** An axis that ends at 990 may as well end at 1000: ends this near a tick, of the span, move to it. */
const SNAP_SHARE = 0.025;
/** Values nearer to one another than this, of their size, count as equal: digits end before that. */
const FLAT_SHARE = 1e-9;
const SMALLEST_STEP = 1e-300;

/** The round step (1, 2 or 5 times a power of ten) that cuts `span` into about `count` parts. */
export function niceStep(span, count) {
  const rough = span / Math.max(1, count);
  const exponent = Math.floor(Math.log10(rough));
  const fraction = rough / 10 ** exponent;
  const [factor, carry] =
    fraction < 1.42 ? [1, 0] : fraction < 3.17 ? [2, 0] : fraction < 7.08 ? [5, 0] : [1, 1];
  return factor * 10 ** (exponent + carry);
}

/** Multiples of `step` without binary dust: 3 × 0.1 is 0.3. */
function multiple(index, step) {
  return index === 0 ? 0 : Number((index * step).toPrecision(12));
}

/**
 * Round ticks from at or below `low` to at or above `high`, to within a billionth of a step or of
 * the larger of the two: what floating point cannot tell apart must not cost a tick.
 * @param {number} low finite
 * @param {number} high finite, at least `low`
 * @param {number} count about how many parts
 * @returns {number[]} rising, at least two
 */
export function coveringTicks(low, high, count) {
  const isFlat = high - low <= FLAT_SHARE * Math.max(Math.abs(low), Math.abs(high));
  const [from, to] = isFlat ? [Math.min(0, low), Math.max(0, high)] : [low, high];
  const step = from === to ? 1 : Math.max(SMALLEST_STEP, niceStep(to - from, count));
  const first = Math.floor(from / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(to / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => multiple(first + index, step));
}

/** A domain whose ends move out to a round tick where that tick is very near. */
function snapped([low, high], covering) {
  const reach = (high - low) * SNAP_SHARE;
  const [first, last] = [covering[0], covering.at(-1)];
  return [low - first <= reach ? first : low, last - high <= reach ? last : high];
}

function linearMap([low, high], [from, to]) {
  const slope = high === low ? 0 : (to - from) / (high - low);
  return (value) => from + (value - low) * slope;
}

/**
 * @param {[number, number]} extent smallest and largest value to show
 * @param {[number, number]} range pixels
 * @param {{count: number, nice: boolean}} opts `nice` widens the domain to the outer ticks
 */
export function linearScale([low, high], range, { count, nice }) {
  const covering = coveringTicks(low, high, count);
  const domain =
    nice || high - low <= FLAT_SHARE * Math.abs(high)
      ? [covering[0], covering.at(-1)]
      : snapped([low, high], covering);
  const values = covering.filter((tick) => tick >= domain[0] && tick <= domain[1]);
  const labels = tickLabels(values);
  return {
    domain,
    map: linearMap(domain, range),
    invert: linearMap(range, domain),
    ticks: values.map((value, index) => ({ value, label: labels[index] })),
  };
}

const STOPS = [1, 2, 5, 10];

function logFloor(value) {
  const exponent = Math.floor(Math.log10(value) + 1e-12);
  const stop = STOPS.findLast((factor) => factor * 10 ** exponent <= value * (1 + 1e-9)) ?? 1;
  return Number(`${stop}e${exponent}`);
}

function logCeil(value) {
  const exponent = Math.floor(Math.log10(value) + 1e-12);
  const stop = STOPS.find((factor) => factor * 10 ** exponent >= value * (1 - 1e-9)) ?? 10;
  return Number(`${stop}e${exponent}`);
}

/**
 * Round ticks of a logarithmic axis: 1, 2, 5 steps over few decades, whole decades over many.
 * @param {number} low above zero
 * @param {number} high at least `low`
 * @param {number} count about how many ticks fit
 * @returns {number[]} rising
 */
export function logTicks(low, high, count) {
  const first = Math.floor(Math.log10(low) + 1e-12);
  const last = Math.ceil(Math.log10(high) - 1e-12);
  const stride = Math.max(1, Math.ceil((last - first) / Math.max(3, 1.6 * count)));
  const factors = (last - first) * 3 <= count + 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let exponent = first; exponent <= last; exponent += stride) {
    for (const factor of factors) ticks.push(Number(`${factor}e${exponent}`));
  }
  return ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
}

/** As `linearScale`, for values above zero on a logarithmic axis. */
export function logScale([low, high], range, { count, nice }) {
  const isWide = nice || low === high;
  const domain = isWide ? [logFloor(low), logCeil(low === high ? high * 1.01 : high)] : [low, high];
  const map = linearMap(domain.map(Math.log10), range);
  const invert = linearMap(range, domain.map(Math.log10));
  const values = logTicks(domain[0], domain[1], count);
  const labels = logLabels(values);
  return {
    domain,
    map: (value) => map(Math.log10(value)),
    invert: (pixel) => 10 ** invert(pixel),
    ticks: values.map((value, index) => ({ value, label: labels[index] })),
  };
}

/**
 * Equal bands for categories; `map(index)` is the middle of a band.
 * @param {string[]} names
 * @param {[number, number]} range pixels
 * @returns {{map: (index: number) => number, step: number, ticks: {value: number, label: string}[], domain: [number, number]}}
 */
export function bandScale(names, [from, to]) {
  const step = (to - from) / Math.max(1, names.length);
  return {
    domain: [0, Math.max(0, names.length - 1)],
    step,
    map: (index) => from + (index + 0.5) * step,
    ticks: names.map((label, value) => ({ value, label })),
  };
}
