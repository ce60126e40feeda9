/**
 * A value, or JSON text, against its shape: `unfrozen.schema.check` in JavaScript, down to the wording.
 * The shapes come from Python (`schema.js`); nothing is known here but how to read them.
 *
 * What passes is a copy of known properties, in objects that inherit nothing: a property named
 * `constructor` or `__proto__` is one like any other, and one that is not there is undefined.
 */

import { shapes } from "./schema.js";

const EXCERPT_LENGTH = 40; // characters of a text that a message quotes
const PLAIN_NAME = /^[A-Za-z0-9_./-]{1,60}$/;
const LONE_SURROGATE = /\p{Surrogate}/u;
const BRACKETS = /"[^"\\]*(?:\\[^][^"\\]*)*"?|[[\]{}]/g;
const isUnicode = "".isWellFormed ? (text) => text.isWellFormed() : (text) => !LONE_SURROGATE.test(text);
const patterns = new Map();
const fitting = new Map(); // by pattern: texts that have fit, as a log repeats its names on every line
const MOST_FITTING = 1000;
const propertyLists = new WeakMap(); // of a shape

/**
 * @typedef {object} Checked
 * @property {any} value what may be used; null where it was refused
 * @property {string} problem one sentence; "" where there is none
 * @property {number} unknown properties that were left out
 */

/** An object that inherits nothing, and that engines still lay out as a record. */
function Bare() {}
Bare.prototype = Object.create(null);

class ShapeFault {
  constructor(place, problem) {
    Object.assign(this, { place, problem });
  }
}

/**
 * @param {object} shape
 * @param {unknown} value
 * @param {string} name stands for the value in the sentence
 * @returns {Checked} never throws
 */
export function check(shape, value, name = "it") {
  const count = { unknown: 0 };
  try {
    return { value: checked(shape, value, count), problem: "", unknown: count.unknown };
  } catch (error) {
    if (!(error instanceof ShapeFault)) throw error;
    const place = error.place.replace(/^\./, "") || name;
    return { value: null, problem: `${place}${error.problem}`, unknown: count.unknown };
  }
}

/**
 * @param {string} text
 * @param {number} maxLength in UTF-16 units
 * @param {string} name stands for the text in the sentence
 * @returns {Checked} the JSON in the text, unchecked; never throws
 */
export function read(text, maxLength, name = "it") {
  if (text.length > maxLength) return refused(`${name} is longer than ${grouped(maxLength)} characters`);
  const { max_depth: maxDepth } = shapes();
  if (isDeeper(text, maxDepth)) return refused(`${name} is nested more than ${maxDepth} deep`);
  try {
    return { value: JSON.parse(text), problem: "", unknown: 0 };
  } catch {
    return refused(`${name} is not JSON`);
  }
}

/** @returns {Checked} */
export function refused(problem) {
  return { value: null, problem, unknown: 0 };
}

function isDeeper(text, maxDepth) {
  if (count(text, "[", maxDepth) + count(text, "{", maxDepth) <= maxDepth) return false;
  let depth = 0;
  for (const [mark] of text.matchAll(BRACKETS)) {
    if (mark === "[" || mark === "{") {
      depth += 1;
      if (depth > maxDepth) return true;
    } else if (mark === "]" || mark === "}") {
      depth -= 1;
    }
  }
  return false;
}

/** How often a character stands in a text, counted no further than `most` + 1. */
function count(text, character, most) {
  let found = 0;
  for (let at = text.indexOf(character); at >= 0 && found <= most; found += 1) {
    at = text.indexOf(character, at + 1);
  }
  return found;
}

/** The `typeof` of values that fit a type, to skip shapes that cannot fit. */
const TYPE_OF = { string: "string", enum: "string", integer: "number", number: "number", boolean: "boolean" };

/** Each takes (shape, value, count) and returns what may be used, or throws a `ShapeFault` with its place. */
const CHECKS = {
  string(shape, value) {
    const fits = typeof value === "string" && value.length <= shape.maxLength;
    if (fits && shape.pattern && fitting.get(shape.pattern)?.has(value)) return value;
    if (fits && !isUnicode(value)) refuse({ is: "text without lone surrogates" }, value);
    if (!fits || (shape.pattern && !compiled(shape.pattern).test(value))) refuse(shape, value);
    if (shape.pattern) remember(shape.pattern, value);
    return value;
  },
  integer(shape, value) {
    if (!Number.isInteger(value) || value < shape.minimum || value > shape.maximum) refuse(shape, value);
    return value;
  },
  number(shape, value) {
    if (!Number.isFinite(value) || value < shape.minimum || value > shape.maximum) refuse(shape, value);
    return value;
  },
  metric(shape, value) {
    if (!Number.isFinite(value) && !shape.values.includes(value)) refuse(shape, value);
    return value;
  },
  boolean(shape, value) {
    if (typeof value !== "boolean") refuse(shape, value);
    return value;
  },
  null(shape, value) {
    if (value !== null) refuse(shape, value);
    return value;
  },
  enum(shape, value) {
    if (typeof value !== "string" || !shape.values.includes(value)) refuse(shape, value);
    return value;
  },
  array: checkArray,
  map: checkMap,
  object: checkObject,
  anyOf: checkAnyOf,
  json(shape, value) {
    if (!fits(shape, value, shape.maxDepth, { values: shape.maxValues })) refuse(shape, value);
    return copied(value);
  },
};

function checked(shape, value, count) {
  return CHECKS[shape.type](shape, value, count);
}

function refuse(shape, value) {
  throw new ShapeFault("", ` is ${describe(value)}; it must be ${shape.is}`);
}

/** A fault inside a value, as seen from outside of it. */
function below(place, error) {
  return error instanceof ShapeFault ? new ShapeFault(`${place}${error.place}`, error.problem) : error;
}

function checkArray(shape, value, count) {
  if (!Array.isArray(value) || value.length > shape.maxItems) refuse(shape, value);
  const found = new Array(value.length);
  const number = [shape.items, ...(shape.items.anyOf ?? [])].find(({ type }) => type === "number");
  let index = 0;
  try {
    for (; index < value.length; index += 1) {
      const one = value[index];
      const fits = number && Number.isFinite(one) && !(one < number.minimum || one > number.maximum); // a plot has 1e5
      found[index] = fits ? one : checked(shape.items, one, count);
    }
  } catch (error) {
    throw below(`[${index}]`, error);
  }
  return found;
}

function checkMap(shape, value, count) {
  if (!isObject(value)) refuse(shape, value);
  const names = Object.keys(value);
  if (names.length > shape.maxProperties) refuse(shape, value);
  const found = new Bare();
  try {
    const isMetric = shape.values.type === "metric";
    for (const name of names) {
      CHECKS.string(shape.names, name);
      const one = value[name];
      found[name] = isMetric && Number.isFinite(one) ? one : checked(shape.values, one, count);
    }
  } catch (error) {
    if (!(error instanceof ShapeFault)) throw error;
    throw firstFault(shape, value, names.sort());
  }
  return found;
}

/** The languages keep the names of an object in different orders: the first in UTF-16 order is reported. */
function firstFault(shape, value, names) {
  for (const name of names) {
    let place = ": a name";
    try {
      CHECKS.string(shape.names, name);
      place = `.${quoteName(name)}`;
      checked(shape.values, value[name], { unknown: 0 });
    } catch (error) {
      return below(place, error);
    }
  }
  return new Error("a map was refused and holds nothing wrong");
}

function checkObject(shape, value, count) {
  if (!isObject(value)) refuse(shape, value);
  const found = new Bare();
  let known = 0;
  let property = null;
  try {
    for (property of propertiesOf(shape)) {
      const isThere = Object.hasOwn(value, property.name);
      if (isThere) known += 1;
      if ((!isThere || value[property.name] === null) && !property.isRequired) continue;
      if (!isThere) throw new ShapeFault("", ` is missing; it must be ${property.shape.is}`);
      found[property.name] = checked(property.shape, value[property.name], count);
    }
  } catch (error) {
    throw below(`.${property.name}`, error);
  }
  const extra = Object.keys(value).length - known;
  if (extra && shape.closed) refuseExtra(shape, value);
  count.unknown += extra;
  for (const [first, second] of shape.sameLength) checkSameLength(found, first, second);
  return found;
}

function propertiesOf(shape) {
  if (!propertyLists.has(shape)) {
    const entries = Object.entries(shape.properties);
    propertyLists.set(shape, entries.map(([name, property]) => ({ name, shape: property, isRequired: shape.required.includes(name) })));
  }
  return propertyLists.get(shape);
}

function checkAnyOf(shape, value, count) {
  const before = count.unknown;
  for (const one of shape.anyOf) {
    if (TYPE_OF[one.type] && TYPE_OF[one.type] !== typeof value) continue;
    try {
      return checked(one, value, count);
    } catch (error) {
      if (!(error instanceof ShapeFault)) throw error;
      count.unknown = before;
    }
  }
  return refuse(shape, value);
}

function refuseExtra({ properties }, value) {
  const [first] = Object.keys(value).filter((name) => !Object.hasOwn(properties, name)).sort();
  const known = Object.keys(properties).join(", ");
  throw new ShapeFault(`.${quoteName(first)}`, ` is an unknown key; known keys are ${known}`);
}

/** `first` names a list, the lists in a list (`rows[]`), or those in its objects. */
function checkSameLength(found, first, second) {
  const wanted = found[second]?.length ?? 0;
  for (const [name, each] of listsAt(found, first)) {
    if (each.length === wanted) continue;
    const must = `it must be as long as ${second}, ${grouped(wanted)}`;
    throw new ShapeFault(`.${name}`, ` is ${describe(each)}; ${must}`);
  }
}

function listsAt(found, first) {
  const [outer, inner] = first.split("[]");
  const one = found[outer] ?? [];
  if (inner === undefined) return one.length ? [[first, one]] : [];
  const key = inner.slice(1);
  return one.map((each, index) => [`${outer}[${index}]${inner}`, key ? (each[key] ?? []) : each]);
}

function fits(shape, value, deep, left) {
  left.values -= 1;
  if (left.values < 0 || deep < 0) return false;
  const isText = (text) => text.length <= shape.maxLength && isUnicode(text);
  const within = (item) => fits(shape, item, deep - 1, left);
  if (typeof value === "string") return isText(value);
  if (Array.isArray(value)) return value.length <= left.values && value.every(within);
  if (isObject(value)) {
    const names = Object.keys(value);
    if (names.length > left.values || !names.every(isText)) return false;
    return names.every((name) => within(value[name]));
  }
  return value === null || typeof value === "boolean" || Number.isFinite(value);
}

/** A copy of JSON in objects that inherit nothing. */
function copied(value) {
  if (Array.isArray(value)) return value.map(copied);
  if (!isObject(value)) return value;
  const found = new Bare();
  for (const name of Object.keys(value)) found[name] = copied(value[name]);
  return found;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function compiled(pattern) {
  if (!patterns.has(pattern)) patterns.set(pattern, new RegExp(`^(?:${pattern})$`));
  return patterns.get(pattern);
}

function remember(pattern, text) {
  if (!fitting.has(pattern)) fitting.set(pattern, new Set());
  const texts = fitting.get(pattern);
  if (texts.size < MOST_FITTING) texts.add(text);
}

/** A value in a sentence: short, one line, ASCII. */
function describe(value) {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    const many = value.length > EXCERPT_LENGTH ? `, ${grouped(value.length)} characters` : "";
    return `${quote(value)}${many}`;
  }
  if (typeof value === "number") return describeNumber(value);
  if (Array.isArray(value)) return `a list of ${grouped(value.length)}`;
  return isObject(value) ? `an object of ${grouped(Object.keys(value).length)}` : "no JSON";
}

function describeNumber(value) {
  if (!Number.isFinite(value)) return "a number that is not finite";
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER) return "a number beyond 2^53";
  return Number.isInteger(value) ? grouped(value) : "a fraction";
}

/** 1234567 → "1,234,567" */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

function quote(text) {
  const start = [...text.slice(0, 2 * EXCERPT_LENGTH)].slice(0, EXCERPT_LENGTH).join("");
  const hex = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(start).replace(/[^ -~]/g, hex);
}

function quoteName(name) {
  return PLAIN_NAME.test(name) ? name : quote(name);
}

/**
 * @param {unknown} data of one table, parsed
 * @returns {string} why it cannot be drawn, as a sentence; "" where it can
 */
export function tableProblem(data) {
  return publishedProblem(shapes().table, data, "the table");
}

/**
 * @param {unknown} data of one plot, parsed; numbers that are not finite are gaps, as in JSON
 * @returns {string} as of `tableProblem`
 */
export function plotProblem(data) {
  const shape = shapes().plots?.items;
  const problem = publishedProblem(shape, data, "the plot");
  return problem.includes(" not finite") ? publishedProblem(shape, JSON.parse(JSON.stringify(data)), "the plot") : problem;
}

function publishedProblem(shape, data, name) {
  if (!shape) return "This page has no schema of tables and plots.";
  const { problem } = check(shape, data, name);
  return problem && `${problem}.`;
}
