/** Numbers of a run as a reader sees them. Values come from the log; only their dress is made here. */

import { exactText } from "../plots/number.js";

const BINARY = [
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
];
const DECIMAL = [
  [1e12, "trillion"],
  [1e9, "billion"],
  [1e6, "million"],
];

const UNITS_AS_THEY_ARE = ["GiB", "MiB", "KiB", "%", "W", "°C"];

/** Three significant digits without an exponent: 1234 → "1,234", 0.98765 → "0.988". */
function threeDigits(value) {
  return exactText(Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(3)));
}

/** @returns {string} e.g. "47.3 MiB"; "–" when there is no number */
export function bytesText(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  const [size, name] = BINARY.find(([limit]) => bytes >= limit) ?? [1, "bytes"];
  return `${threeDigits(bytes / size)}\u00a0${name}`;
}

/** @returns {string} a count with grouped digits, or in words from a million: "135 million" */
export function countText(count) {
  if (!Number.isFinite(count)) return "–";
  const [size, name] = DECIMAL.find(([limit]) => count >= limit) ?? [1, ""];
  return name ? `${threeDigits(count / size)}\u00a0${name}` : exactText(count);
}

/** @returns {string} a loss with three decimals; what is not finite is called by its name */
export function lossText(value) {
  if (Number.isFinite(value)) return value.toFixed(3).replace("-", "−");
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "∞" : value < 0 ? "−∞" : "–";
}

/** @returns {string} a change with its sign: "−0.412", "+0.031" */
export function deltaText(value) {
  return Number.isFinite(value) && value >= 0 ? `+${lossText(value)}` : lossText(value);
}

/** @returns {string} e.g. "1,234 tokens/s", "0.182 s", "2.00e-5": a value of a metric in its unit */
export function metricText(value, unit) {
  if (!Number.isFinite(value)) return lossText(value);
  if (unit === "bytes") return bytesText(value);
  if (unit === "nats") return lossText(value);
  if (unit === "seconds") return `${threeDigits(value)}\u00a0s`;
  if (unit === "ratio") return percentText(value);
  if (unit === "tokens/second") return `${threeDigits(value)}\u00a0tokens/s`;
  const number = exactText(Number(value.toPrecision(4)));
  return UNITS_AS_THEY_ARE.includes(unit) ? `${number}\u00a0${unit}` : number;
}

/**
 * @param {number} amount
 * @param {string} currency only a label
 * @returns {string} to the cent from one on: "12.50 USD", "0.0123 USD"
 */
export function moneyText(amount, currency) {
  const cents = amount.toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",");
  const number = amount >= 1 ? cents : threeDigits(amount);
  return `${number}\u00a0${currency}`;
}

/** @returns {string} a share as per cent with three significant digits: "9.12%" */
export function percentText(ratio) {
  return `${exactText(Number((100 * ratio).toPrecision(3)))}%`;
}

/** @returns {string} a time that went by: "8 s", "3 min 20 s", "2 h 05 min" */
export function durationText(seconds) {
  const whole = Math.round(seconds);
  const padded = (count) => String(count).padStart(2, "0");
  if (whole < 60) return `${whole}\u00a0s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}\u00a0min\u00a0${padded(whole % 60)}\u00a0s`;
  return `${Math.floor(minutes / 60)}\u00a0h\u00a0${padded(minutes % 60)}\u00a0min`;
}

/** @param {number} time Unix seconds @returns {string} local time, "14:03:22" */
export function clockText(time) {
  return new Date(time * 1000).toLocaleTimeString("en-GB");
}

/** @param {number} time Unix seconds @returns {string} local day and time, "25 Nov 2026, 14:03" */
export function dayText(time) {
  const day = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
  return new Date(time * 1000).toLocaleString("en-GB", day);
}
