/** Numbers as an axis and a read-out print them: short on ticks, exact under the pointer. */

const SUFFIXES = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
];

/** Significant digits of a number that is no whole one; data carry no more. */
const DIGITS = 6;

/** A minus sign where a hyphen would look like a dash; exponents keep the hyphen of source code. */
function typeset(text) {
  return text.replace(/^-/, "−");
}

function grouped(text) {
  const [whole, fraction] = text.split(".");
  const commas = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return fraction ? `${commas}.${fraction}` : commas;
}

function exponential(value, digits) {
  return typeset(String(Number(value.toPrecision(digits)).toExponential()).replace("e+", "e"));
}

/** Decimals that tell apart numbers lying `step` apart. */
function decimalsOf(step) {
  return Math.max(0, Math.min(10, -Math.floor(Math.log10(step) + 1e-9)));
}

/**
 * Labels for the ticks of one axis, all in one style: plain, grouped, with M/B/T, or as 2e-5.
 * @param {number[]} values evenly spaced
 * @returns {string[]}
 */
export function tickLabels(values) {
  const largest = Math.max(...values.map(Math.abs));
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : largest || 1;
  if (largest >= 1e15 || (largest > 0 && largest < 1e-3)) {
    return values.map((value) => (value === 0 ? "0" : exponential(value, 6)));
  }
  const [factor, suffix] = SUFFIXES.find(([size]) => largest >= size) ?? [1, ""];
  const decimals = decimalsOf(step / factor);
  return values.map((value) => {
    if (value === 0) return "0";
    const text = grouped(Math.abs(value / factor).toFixed(decimals));
    return `${value < 0 ? "−" : ""}${text}${suffix}`;
  });
}

/**
 * One number in full: integers digit by digit, others to six significant digits.
 * @param {number} value
 * @returns {string} e.g. "7,000,000,000", "1.35679e-5", "−0.25"
 */
export function exactText(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-4) return exponential(value, 6);
  const rounded = Number.isInteger(value) ? value : Number(value.toPrecision(DIGITS));
  return (value < 0 ? "−" : "") + grouped(String(Math.abs(rounded)));
}

/** One number at a glance, above a bar: three digits, and never fewer than its whole part has. */
export function shortText(value) {
  return exactText(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}

/**
 * Numbers that stand under one another: in full, with as many decimals as the longest needs, but
 * none with a digit that nobody gave: a number that was cut to six digits is not filled up.
 * @param {(number | null)[]} values
 * @returns {(string | null)[]}
 */
export function exactTexts(values) {
  const texts = values.map((value) => (value === null ? null : exactText(value)));
  if (texts.some((text) => text?.includes("e"))) return texts;
  const decimals = Math.max(0, ...texts.map((text) => text?.split(".")[1]?.length ?? 0));
  return texts.map((text) => {
    if (text === null || decimals === 0) return text;
    const [whole, fraction = ""] = text.split(".");
    const known = Math.max(fraction.length, DIGITS - whole.replace(/\D/g, "").replace(/^0$/, "").length);
    return `${whole}.${fraction.padEnd(Math.min(decimals, known), "0")}`;
  });
}

/** Labels for the ticks of a logarithmic axis: all as 1e-5 when the axis lies below one. */
export function logLabels(values) {
  const areSmall = Math.min(...values) < 1e-3 && Math.max(...values) <= 1;
  return values.map((value) => (areSmall && value < 1 ? exponential(value, 6) : exactText(value)));
}

/** A number with its unit, joined by a space that does not break. */
export function withUnit(text, unit) {
  return unit ? `${text}\u00a0${unit}` : text;
}
