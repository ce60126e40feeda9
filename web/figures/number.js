/**
 * Formats numbers for every widget: short on ticks, exact in tooltips; bytes, counts, losses, money and times
 * with their units. The values themselves come from Python.
 */

const SUFFIXES = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
];

/** Significant digits of a number that is not an integer; the data have no more. */
const DIGITS = 6;

/** Replaces a leading hyphen by a minus sign; exponents keep the hyphen of source code. */
export function typeset(text) {
  return text.replace(/^-/, "−");
}

/** A decimal number with commas between its thousands, from five digits up: "12,345.6". */
export function grouped(text) {
  const [whole, fraction] = text.split(".");
  const commas = /\d{5}/.test(whole) ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return fraction ? `${commas}.${fraction}` : commas;
}

/** A number in the notation of source code: 2e-5, 1.35679e-5. */
export function exponential(value, digits) {
  return typeset(String(Number(value.toPrecision(digits)).toExponential()).replace("e+", "e"));
}

/** Decimals that distinguish numbers `step` apart. */
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
export function formatNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-4) return exponential(value, 6);
  const rounded = Number.isInteger(value) ? value : Number(value.toPrecision(DIGITS));
  return (value < 0 ? "−" : "") + grouped(String(Math.abs(rounded)));
}

/** One number above a bar: three significant digits, and never fewer than its integer part has. */
export function formatShort(value) {
  return formatNumber(Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}

/**
 * The numbers of a column in full, with as many decimals as the longest needs; a number rounded to six digits
 * is not padded with zeros.
 * @param {(number | null)[]} values
 * @returns {(string | null)[]}
 */
export function formatColumn(values) {
  const texts = values.map((value) => (value === null ? null : formatNumber(value)));
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
  return values.map((value) => (areSmall && value < 1 ? exponential(value, 6) : formatNumber(value)));
}

/** A number with its unit, joined by a space that does not break. */
export function withUnit(text, unit) {
  return unit ? `${text}\u00a0${unit}` : text;
}

const BINARY_UNITS = [
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
  [1, "bytes"],
];
const DECIMAL_UNITS = [
  [1e12, "TB"],
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
  [1, "B"],
];
const LARGE_COUNTS = [
  [1e12, "trillion"],
  [1e9, "billion"],
  [1e6, "million"],
];

const SUFFIX_UNITS = ["GiB", "MiB", "KiB", "%", "W", "°C"];

/** Three significant digits without an exponent: 1234 → "1,234", 0.98765 → "0.988". */
function threeDigits(value) {
  return formatNumber(Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(3)));
}

/** @returns {[number, string]} the largest unit not above so many bytes: [2 ** 20, "MiB"] */
export function binaryUnit(bytes) {
  return unitFor(bytes, BINARY_UNITS);
}

/** @returns {[number, string]} as `binaryUnit`, in powers of a thousand: [1e9, "GB"] */
export function decimalUnit(bytes) {
  return unitFor(bytes, DECIMAL_UNITS);
}

function unitFor(bytes, units) {
  return units.find(([size]) => bytes >= size) ?? units.at(-1);
}

/** @returns {string} e.g. "47.3 MiB"; "–" when there is no number */
export function formatBytes(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  const [size, name] = binaryUnit(bytes);
  return `${threeDigits(bytes / size)}\u00a0${name}`;
}

/** @returns {string} a count with grouped digits, or in words from a million: "135 million" */
export function formatCount(count) {
  if (!Number.isFinite(count)) return "–";
  const [size, name] = LARGE_COUNTS.find(([limit]) => count >= limit) ?? [1, ""];
  return name ? `${threeDigits(count / size)}\u00a0${name}` : formatNumber(count);
}

/** @returns {string} a loss with three decimals, "NaN", "∞" or "−∞" */
export function formatLoss(value) {
  if (Number.isFinite(value)) return value.toFixed(3).replace("-", "−");
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "∞" : value < 0 ? "−∞" : "–";
}

/** @returns {string} a change with its sign: "−0.412", "+0.031" */
export function formatDelta(value) {
  return Number.isFinite(value) && value >= 0 ? `+${formatLoss(value)}` : formatLoss(value);
}

/** @returns {string} e.g. "1,234 tokens/s", "0.182 s", "2.00e-5": a value of a metric in its unit */
export function formatMetric(value, unit) {
  if (!Number.isFinite(value)) return formatLoss(value);
  if (unit === "bytes") return formatBytes(value);
  if (unit === "nats") return formatLoss(value);
  if (unit === "seconds") return `${threeDigits(value)}\u00a0s`;
  if (unit === "ratio") return formatPercent(value);
  if (unit === "tokens/second") return `${threeDigits(value)}\u00a0tokens/s`;
  const number = formatNumber(Number(value.toPrecision(4)));
  return SUFFIX_UNITS.includes(unit) ? `${number}\u00a0${unit}` : number;
}

/**
 * @param {number} amount
 * @param {string} currency only a label
 * @returns {string} to the cent from one on: "12.50 USD", "0.0123 USD"
 */
export function formatMoney(amount, currency) {
  const cents = amount.toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",");
  const number = amount >= 1 ? cents : threeDigits(amount);
  return `${number}\u00a0${currency}`;
}

/** @returns {string} a ratio in per cent with three significant digits: "9.12%" */
export function formatPercent(ratio) {
  return `${formatNumber(Number((100 * ratio).toPrecision(3)))}%`;
}

/** @returns {string} an elapsed time: "8 s", "3 min 20 s", "2 h 05 min" */
export function formatDuration(seconds) {
  const whole = Math.round(seconds);
  const padded = (count) => String(count).padStart(2, "0");
  if (whole < 60) return `${whole}\u00a0s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}\u00a0min\u00a0${padded(whole % 60)}\u00a0s`;
  return `${Math.floor(minutes / 60)}\u00a0h\u00a0${padded(minutes % 60)}\u00a0min`;
}

/** @param {number} time Unix seconds @returns {string} local time, "14:03:22" */
export function formatTime(time) {
  return new Date(time * 1000).toLocaleTimeString("en-GB");
}

/** @param {number} time Unix seconds @returns {string} local day and time, "25 Nov 2026, 14:03" */
export function formatDate(time) {
  day ??= new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  return day.format(new Date(time * 1000));
}

let day = null; // to make one takes 15 ms, and most pages show no date
