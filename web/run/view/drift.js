/** How far each layer has moved from where it started: one bar a layer, standing on zero. */

import { percentText } from "../number.js";
import { coveringTicks } from "../../plots/scale.js";
import { h } from "../../figures/vnode.js";

const PLOT_HEIGHT = 96;
const TOP = 12;
const BOTTOM = 24;
const LEFT = 62;
const RIGHT = 8; // the last name is wider than its bar
const BAR_SHARE = 0.62;
const WIDEST_BAR = 40;
const NUMBER_SPACE = 26; // pixels that a layer's number needs below its bar
const NAME_SPACE = 40;
const SHORT = { embed_tokens: "embed", lm_head: "head" };

/**
 * @typedef {object} Moved
 * @property {string} name as in the log: "embed_tokens", "layers.3"
 * @property {string} label what stands below its bar: "embed", "3"
 * @property {number} ratio norm of the change over the norm at the start; may be NaN
 * @property {boolean} isLayer one of the stack, rather than an embedding, a norm or the head
 *
 * @param {Record<string, number | string>} layers of the newest `drift` event
 * @returns {Moved[]} in the order of the model
 */
export function movedLayers(layers) {
  return Object.entries(layers).map(([name, ratio]) => {
    const [, number] = /\.(\d+)$/.exec(name) ?? [];
    return { name, label: number ?? SHORT[name] ?? name, ratio: Number(ratio), isLayer: number !== undefined };
  });
}

/** @returns {string} a ratio as per cent with three significant digits: "9.12%" */
export function driftText(ratio) {
  return Number.isFinite(ratio) ? percentText(ratio) : String(ratio);
}

/**
 * @param {Record<string, number | string>} layers of the newest `drift` event
 * @param {number} width pixels
 * @returns {import("../../figures/vnode.js").VNode | null} null while nothing has moved
 */
export function driftView(layers, width) {
  const moved = movedLayers(layers);
  const highest = Math.max(0, ...moved.map(({ ratio }) => ratio).filter(Number.isFinite));
  if (highest === 0) return null;
  const ticks = coveringTicks(0, 100 * highest, 3).map((tick) => tick / 100);
  const y = (ratio) => TOP + PLOT_HEIGHT * (1 - ratio / ticks.at(-1));
  const band = (width - LEFT - RIGHT) / moved.length;
  return h(
    "svg",
    {
      class: "run-bars",
      viewBox: `0 0 ${width} ${TOP + PLOT_HEIGHT + BOTTOM}`,
      role: "img",
      "aria-label": "How far each layer has moved from its pre-trained weights. The numbers follow below.",
    },
    ticks.map((ratio) => gridLine(ratio, y(ratio), width)),
    moved.map((layer, index) => barView(layer, LEFT + band * (index + 0.5), band, y)),
    labels(moved, band).map(([text, index]) =>
      h("text", { x: LEFT + band * (index + 0.5), y: y(0) + 18, "text-anchor": "middle" }, text),
    ),
  );
}

function gridLine(ratio, y, width) {
  return h(
    "g",
    { class: ratio === 0 ? "run-grid run-grid-zero" : "run-grid" },
    h("line", { x1: LEFT, x2: width, y1: y, y2: y }),
    h("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, ratio === 0 ? "0" : driftText(ratio)),
  );
}

function barView({ name, ratio, isLayer }, middle, band, y) {
  const barWidth = Math.min(WIDEST_BAR, band * BAR_SHARE);
  const top = Number.isFinite(ratio) ? y(ratio) : y(0);
  return h(
    "rect",
    {
      class: isLayer ? "run-moved" : "run-moved run-moved-apart",
      x: middle - barWidth / 2,
      y: top,
      width: barWidth,
      height: y(0) - top,
    },
    h("title", null, `${name}: ${driftText(ratio)}`),
  );
}

/** What is no layer always has its name; of many layers, every fifth, tenth … has its number. */
function labels(moved, band) {
  const stride = [1, 5, 10, 20, 50].find((every) => every * band >= NUMBER_SPACE) ?? 100;
  const apart = moved.map(({ isLayer }, index) => (isLayer ? -1 : index)).filter((index) => index >= 0);
  const isFree = (index) => apart.every((other) => Math.abs(other - index) * band >= NAME_SPACE);
  return moved
    .map(({ label }, index) => [label, index])
    .filter(([label, index]) => !moved[index].isLayer || (Number(label) % stride === 0 && isFree(index)));
}
