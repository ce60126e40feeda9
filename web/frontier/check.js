/**
 * A value against its shape: `unfrozen.frontier.check` in JavaScript, down to the words. The shapes
 * come from Python (`shapes.js`); nothing is known here but how to read them.
 *
 * What is let through is a copy of known fields, in objects that inherit nothing: a field named
 * `constructor` or `__proto__` is a field like any other, and one that is not there is undefined.
 */

const SHOWN = 40; // characters of a text in a sentence
const PLAIN = /^[A-Za-z0-9_./-]{1,60}$/;
const HALF = /\p{Surrogate}/u; // half of a pair without its other half
const isWhole = "".isWellFormed ? (text) => text.isWellFormed() : (text) => !HALF.test(text);
const patterns = new Map();
const fields = new WeakMap(); // of a shape, as a list

/**
 * @typedef {object} Verdict
 * @property {any} value what may be used; null where it was refused
 * @property {string} problem one sentence; "" where there is none
 * @property {number} unknown fields that were left out, because nobody here knows them
 */

/** An object that inherits nothing, and that engines still lay out as a record. */
function Bare() {}
Bare.prototype = Object.create(null);

class Refused {
  constructor(place, problem) {
    Object.assign(this, { place, problem });
  }
}

/**
 * @param {object} shape
 * @param {unknown} value
 * @param {string} name stands for the value in the sentence
 * @returns {Verdict} never throws
 */
export function check(shape, value, name = "it") {
  const count = { unknown: 0 };
  try {
    return { value: checked(shape, value, count), problem: "", unknown: count.unknown };
  } catch (wrong) {
    if (!(wrong instanceof Refused)) throw wrong;
    const place = wrong.place.replace(/^\./, "") || name;
    return { value: null, problem: `${place}${wrong.problem}`, unknown: count.unknown };
  }
}

/** What a value of a type can only be: of the others there is no need to try. */
const KINDS = { text: "string", word: "string", whole: "number", number: "number", flag: "boolean" };

/** Each takes (shape, value, count) and returns what may be used, or throws `Refused` with its place. */
const TAKES = {
  text(shape, value) {
    const fits = typeof value === "string" && value.length <= shape.most && isWhole(value);
    if (!fits || (shape.like && !pattern(shape.like).test(value))) refuse(shape, value);
    return value;
  },
  whole(shape, value) {
    if (!Number.isInteger(value) || value < shape.low || value > shape.high) refuse(shape, value);
    return value;
  },
  number(shape, value) {
    if (!Number.isFinite(value) || value < shape.low || value > shape.high) refuse(shape, value);
    return value;
  },
  measured(shape, value) {
    if (!Number.isFinite(value) && !shape.words.includes(value)) refuse(shape, value);
    return value;
  },
  flag(shape, value) {
    if (typeof value !== "boolean") refuse(shape, value);
    return value;
  },
  nothing(shape, value) {
    if (value !== null) refuse(shape, value);
    return value;
  },
  word(shape, value) {
    if (typeof value !== "string" || !shape.words.includes(value)) refuse(shape, value);
    return value;
  },
  list: takeList,
  map: takeMap,
  object: takeObject,
  either: takeEither,
  json(shape, value) {
    if (!fits(shape, value, shape.deep, { values: shape.most })) refuse(shape, value);
    return copied(value);
  },
};

function checked(shape, value, count) {
  return TAKES[shape.type](shape, value, count);
}

function refuse(shape, value) {
  throw new Refused("", ` is ${told(value)}; it must be ${shape.is}`);
}

/** What was refused inside something, told from outside of it. */
function inside(place, wrong) {
  return wrong instanceof Refused ? new Refused(`${place}${wrong.place}`, wrong.problem) : wrong;
}

function takeList(shape, value, count) {
  if (!Array.isArray(value) || value.length > shape.most) refuse(shape, value);
  const found = new Array(value.length);
  let index = 0;
  try {
    for (; index < value.length; index += 1) found[index] = checked(shape.of, value[index], count);
  } catch (wrong) {
    throw inside(`[${index}]`, wrong);
  }
  return found;
}

function takeMap(shape, value, count) {
  if (!isObject(value)) refuse(shape, value);
  const names = Object.keys(value);
  if (names.length > shape.most) refuse(shape, value);
  const found = new Bare();
  try {
    for (const name of names) {
      TAKES.text(shape.names, name);
      found[name] = checked(shape.of, value[name], count);
    }
  } catch (wrong) {
    if (!(wrong instanceof Refused)) throw wrong;
    throw firstWrong(shape, value, names.sort());
  }
  return found;
}

/** The languages keep the names of an object in different orders: the first in UTF-16 order is told. */
function firstWrong(shape, value, names) {
  for (const name of names) {
    let place = ": a name";
    try {
      TAKES.text(shape.names, name);
      place = `.${named(name)}`;
      checked(shape.of, value[name], { unknown: 0 });
    } catch (wrong) {
      return inside(place, wrong);
    }
  }
  return new Error("a map was refused and holds nothing wrong");
}

function takeObject(shape, value, count) {
  if (!isObject(value)) refuse(shape, value);
  const found = new Bare();
  let known = 0;
  let field = null;
  try {
    for (field of fieldsOf(shape)) {
      const isThere = Object.hasOwn(value, field.name);
      if (isThere) known += 1;
      if ((!isThere || value[field.name] === null) && !field.isNeeded) continue;
      if (!isThere) throw new Refused("", ` is missing; it must be ${field.shape.is}`);
      found[field.name] = checked(field.shape, value[field.name], count);
    }
  } catch (wrong) {
    throw inside(`.${field.name}`, wrong);
  }
  const strange = Object.keys(value).length - known;
  if (strange && shape.closed) refuseStrange(shape, value);
  count.unknown += strange;
  for (const [first, second] of shape.long) checkLong(found, first, second);
  return found;
}

function fieldsOf(shape) {
  if (!fields.has(shape)) {
    const named = Object.entries(shape.fields);
    fields.set(shape, named.map(([name, of]) => ({ name, shape: of, isNeeded: shape.needs.includes(name) })));
  }
  return fields.get(shape);
}

function takeEither(shape, value, count) {
  const before = count.unknown;
  for (const one of shape.of) {
    if (KINDS[one.type] && KINDS[one.type] !== typeof value) continue;
    try {
      return checked(one, value, count);
    } catch (wrong) {
      if (!(wrong instanceof Refused)) throw wrong;
      count.unknown = before;
    }
  }
  return refuse(shape, value);
}

function refuseStrange({ fields }, value) {
  const [first] = Object.keys(value).filter((name) => !Object.hasOwn(fields, name)).sort();
  const known = Object.keys(fields).join(", ");
  throw new Refused(`.${named(first)}`, ` is no field of it; there are ${known}`);
}

/** `first` names a list, the lists in a list (`rows[]`), or those in its objects. */
function checkLong(found, first, second) {
  const wanted = found[second]?.length ?? 0;
  for (const [name, each] of listsAt(found, first)) {
    if (each.length === wanted) continue;
    const must = `it must be as long as ${second}, ${grouped(wanted)}`;
    throw new Refused(`.${name}`, ` is ${told(each)}; ${must}`);
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
  const isText = (text) => text.length <= shape.longest && isWhole(text);
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

function pattern(like) {
  if (!patterns.has(like)) patterns.set(like, new RegExp(`^(?:${like})$`));
  return patterns.get(like);
}

/** A value in a sentence: short, one line, ASCII. */
function told(value) {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    const many = value.length > SHOWN ? `, ${grouped(value.length)} characters` : "";
    return `${quoted(value)}${many}`;
  }
  if (typeof value === "number") return numberTold(value);
  if (Array.isArray(value)) return `a list of ${grouped(value.length)}`;
  return isObject(value) ? `an object of ${grouped(Object.keys(value).length)}` : "no JSON";
}

function numberTold(value) {
  if (!Number.isFinite(value)) return "a number that is not finite";
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER) return "a number beyond 2^53";
  return Number.isInteger(value) ? grouped(value) : "a fraction";
}

/** 1234567 → "1,234,567" */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

function quoted(text) {
  const start = [...text.slice(0, 2 * SHOWN)].slice(0, SHOWN).join("");
  const hex = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(start).replace(/[^ -~]/g, hex);
}

function named(name) {
  return PLAIN.test(name) ? name : quoted(name);
}
