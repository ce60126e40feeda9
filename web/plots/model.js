/**
 * A plot as a cell publishes it, in the one form that layout and marks use; its extents, its colours, and its
 * numbers as a table.
 */

import { decimalUnit } from "../figures/number.js";

/**
 * @typedef {{label: string, data: (number | null)[], color?: string, dashed?: boolean}} Line
 * @typedef {{title?: string, x_label?: string, y_label?: string, x_data: (string | number)[],
 *   lines: Line[], type?: "line" | "bar" | "stacked_bar", thresholds?: {label: string, value: number}[],
 *   x_log?: boolean, y_log?: boolean, x_unit?: string, y_unit?: string, caption?: string}} Plot
 */

/**
 * Returns the plot in its inner form. Values that cannot be drawn become gaps and are counted in `notes`.
 * @param {Plot} data checked by the schema
 */
export function readPlot(data) {
  const type = data.type ?? "line";
  const isCategory = type !== "line" || data.x_data.some((x) => typeof x === "string");
  const notes = [];
  const { factor, unit } = byteScale(data);
  const lines = readLines(data, factor);
  const yLog = readYLog(data.y_log, type, lines, notes);
  const xLog = !isCategory && readXLog(data, notes);
  const thresholds = readThresholds(data, factor).filter(({ value }) => !yLog || value > 0);
  return {
    type,
    isCategory,
    lines,
    notes,
    xLog,
    yLog,
    thresholds,
    title: text(data.title),
    caption: text(data.caption),
    xLabel: text(data.x_label),
    yLabel: text(data.y_label),
    xUnit: text(data.x_unit),
    yUnit: unit,
    x: data.x_data,
  };
}

function readThresholds(data, factor) {
  return (data.thresholds ?? []).map(({ label, value }) => ({
    label: text(label),
    value: value / factor,
  }));
}

function readXLog(data, notes) {
  if (!data.x_log) return false;
  const isPositive = data.x_data.every((x) => x > 0);
  if (!isPositive) notes.push("Some x lie at or below zero, so this axis stays linear.");
  return isPositive;
}

function text(value) {
  return value === null || value === undefined ? "" : String(value);
}

function readLines(data, factor) {
  const painted = paintsOf(data.lines.map(({ label, color }) => ({ label: text(label), color })));
  return data.lines.map((line, index) => ({
    label: text(line.label),
    isDashed: Boolean(line.dashed),
    hatch: data.type === "stacked_bar" && !line.dashed ? index : null,
    paint: painted[index],
    values: line.data.map((y) => (Number.isFinite(y) ? y / factor : null)),
  }));
}

/** Bytes are drawn in the decimal unit that suits the largest value. */
function byteScale(data) {
  const unit = text(data.y_unit);
  if (!/^(?:B|bytes)$/.test(unit)) return { factor: 1, unit };
  let largest = 0;
  for (const { data: values } of data.lines) {
    for (const y of values) if (Number.isFinite(y)) largest = Math.max(largest, Math.abs(y));
  }
  const [factor, name] = decimalUnit(largest);
  return { factor, unit: name };
}

/** Whether the y axis is logarithmic; bars keep zero, and values without a logarithm are gaps. */
function readYLog(isWanted, type, lines, notes) {
  if (!isWanted) return false;
  if (type !== "line") {
    notes.push("Bars are measured from zero, so this axis stays linear.");
    return false;
  }
  let dropped = 0;
  for (const line of lines) {
    line.values = line.values.map((y) => (y !== null && y <= 0 ? (dropped++, null) : y));
  }
  if (dropped > 0)
    notes.push(
      `${dropped} ${dropped === 1 ? "value" : "values"} at or below zero cannot stand on a log axis.`,
    );
  return true;
}

/** Smallest and largest of the given numbers; null when there is none. */
function extentOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? null : [low, high];
}

/** Whether there is anything to draw. */
export function hasData(plot) {
  return (
    plot.x.length > 0 && plot.lines.some((line) => line.values.some((value) => value !== null))
  );
}

/**
 * For every line and index, where its bar begins and ends. Stacked bars pile up from zero, negative
 * ones downwards; other bars begin at zero.
 * @returns {([number, number] | null)[][]} [line][index]
 */
export function barSpans(plot) {
  const above = plot.x.map(() => 0);
  const below = plot.x.map(() => 0);
  return plot.lines.map((line) =>
    line.values.map((value, index) => {
      if (value === null) return null;
      if (plot.type === "bar") return [0, value];
      const pile = value < 0 ? below : above;
      pile[index] += value;
      return [pile[index] - value, pile[index]];
    }),
  );
}

/**
 * The y extent: bars and thresholds from zero; lines too, unless that would waste half of the picture, or, of an amount
 * with a unit, whose heights are compared, nine tenths.
 */
export function yExtent(plot) {
  const marks =
    plot.type === "line" ? plot.lines.map((line) => line.values) : barSpans(plot).flat();
  const limits = plot.thresholds.map(({ value }) => value);
  const extents = [...marks.map((each) => extentOf(each ?? [])), extentOf(limits)].filter(Boolean);
  const [low, high] = extentOf(extents.flat());
  if (plot.yLog) return [low, high];
  if (plot.type !== "line") return [Math.min(0, low), Math.max(0, high)];
  return low > 0 && low < high * (plot.yUnit ? 0.9 : 0.5) ? [0, high] : [low, high];
}

/** The x extent of a numeric axis. */
export function xExtent(plot) {
  return extentOf(plot.x);
}

/**
 * The plot's data as a table of the cell contract, in the units it was given in.
 * @param {Plot} data
 * @returns {import("../tables/view.js").Table}
 */
export function plotTable(data) {
  const value = data.y_label ? String(data.y_label) : "Value";
  return {
    headers: [
      data.x_label ? String(data.x_label) : "x",
      ...data.lines.map(({ label }) => (label ? String(label) : value)),
    ],
    units: [data.x_unit ?? "", ...data.lines.map(() => data.y_unit ?? "")],
    rows: data.x_data.map((x, index) => [x, ...data.lines.map((line) => line.data[index])]),
    caption: data.title ? String(data.title) : undefined,
  };
}

/**
 * The plot with only the points whose x lies in a range; null when fewer than two do.
 * @param {object} plot from `readPlot`, with a numeric x axis
 * @param {[number, number]} range
 */
export function zoomed(plot, [low, high]) {
  const indices = plot.x.flatMap((x, index) => (x >= low && x <= high ? [index] : []));
  if (indices.length < 2) return null;
  const pick = (values) => indices.map((index) => values[index]);
  return {
    ...plot,
    x: pick(plot.x),
    lines: plot.lines.map((line) => ({ ...line, values: pick(line.values) })),
  };
}

const PALETTE_SIZE = 6;
const HEX = /^#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i;
const NUMBER = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:%|deg)?`;
const FUNCTION = new RegExp(
  String.raw`^(?:rgb|rgba|hsl|hsla|oklch|lab|lch|oklab)\(\s*${NUMBER}(?:\s*[,/]\s*${NUMBER}|\s+${NUMBER}){2,3}\s*\)$`,
  "i",
);
const NAMED = new Set(
  `aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet
  brown burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue
  darkcyan darkgoldenrod darkgray darkgreen darkgrey darkkhaki darkmagenta darkolivegreen darkorange
  darkorchid darkred darksalmon darkseagreen darkslateblue darkslategray darkslategrey darkturquoise
  darkviolet deeppink deepskyblue dimgray dimgrey dodgerblue firebrick floralwhite forestgreen
  fuchsia gainsboro ghostwhite gold goldenrod gray green greenyellow grey honeydew hotpink indianred
  indigo ivory khaki lavender lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan
  lightgoldenrodyellow lightgray lightgreen lightgrey lightpink lightsalmon lightseagreen
  lightskyblue lightslategray lightslategrey lightsteelblue lightyellow lime limegreen linen magenta
  maroon mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen mediumslateblue
  mediumspringgreen mediumturquoise mediumvioletred midnightblue mintcream mistyrose moccasin
  navajowhite navy oldlace olive olivedrab orange orangered orchid palegoldenrod palegreen
  paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue purple rebeccapurple
  red rosybrown royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue
  slateblue slategray slategrey snow springgreen steelblue tan teal thistle tomato turquoise violet
  wheat white whitesmoke yellow yellowgreen`.split(/\s+/),
);

/** Patterns of labels of memory components, in the order they are tried. */
const COMPONENTS = [
  ["master", /^(?:fp32 )?master\b/i],
  ["weights", /^(?:model )?(?:weights|param(?:eter)?s)\b/i],
  ["gradients", /^grad(?:ient)?s?\b/i],
  ["moments", /^(?:optimi[sz]er|(?:adam )?moments?)\b/i],
  ["activations", /^activations?\b/i],
  ["logits", /^logits?\b/i],
  ["workspace", /^workspace\b/i],
  ["gathered", /^gathered\b/i],
  ["context", /^(?:(?:cuda|device) )?context\b|^other\b/i],
  ["adapters", /^(?:lora )?adapters?\b/i],
  ["quant", /^quant/i],
];

/**
 * Returns a colour that may be written into the picture, or null for anything that is not plainly a colour.
 * @param {unknown} value what a cell gave as "color"
 * @returns {string | null}
 */
export function safeColor(value) {
  if (typeof value !== "string" || value.length > 64) return null;
  const text = value.trim();
  const isColor = HEX.test(text) || FUNCTION.test(text) || NAMED.has(text.toLowerCase());
  return isColor ? text : null;
}

function component(label) {
  return COMPONENTS.find(([, pattern]) => pattern.test(label))?.[0] ?? null;
}

/**
 * Returns the paint of every line, as attributes of the group of its marks. A colour of the reader's is used; a memory
 * component has its one colour of the site; every other line takes the next of the palette.
 * @param {{label: string, color?: unknown}[]} lines
 * @returns {{class: string, color: string | null}[]} marks use `currentColor`
 */
export function paintsOf(lines) {
  const taken = new Set();
  let next = 0;
  return lines.map(({ label, color }) => {
    const own = safeColor(color);
    if (own) return { class: "series series-own", color: own };
    const name = component(label);
    if (name && !taken.has(name)) {
      taken.add(name);
      return { class: `series memory-${name}`, color: null };
    }
    return { class: `series series-${(next++ % PALETTE_SIZE) + 1}`, color: null };
  });
}
