/**
 * Where the cursor stands in a cell's code, and the names that the editor offers there: those of the live interpreter, and
 * those that this cell defines.
 *
 *   np.li|            owner "np"
 *   plan(job, st|     callee "plan": its arguments come first
 *   from numpy.|      package "numpy"; after "import" also its members
 *   "text|", # text|  nowhere
 *
 * The list opens by itself after a dot, everywhere else at Ctrl-Space: whoever types a name and presses Enter wants a line.
 */

import { localCompletionSource, pythonLanguage } from "@codemirror/lang-python";

const MOST_CHARACTERS = 300; // of an expression
const IMPORT = /^\s*(?:import|from)\s+(?:[\w.\s]*,\s*)?(?:([\w.]+)\.)?\w*$/;
const FROM_IMPORT = /^\s*from\s+([\w.]+)\s+import\s+\(?(?:[^()]*,\s*)?\w*$/;
const TEXTS = ["String", "FormatString", "Comment", "Number"];
const OWNERS = /^(?:VariableName|String|FormatString|(?:Member|Call|Parenthesized|Array|Dictionary|Set|Tuple)Expression)$/;
const BRACKETS = ["ArgList", "ParamList", "TupleExpression", "ParenthesizedExpression", "ArrayExpression", "SetExpression"];

/**
 * @typedef {{from: number, owner: string, callee: string, package: string | null, members: boolean, hidden: boolean}} Place
 *   from: where the word begins; the rest see `pycell.completion`
 * @typedef {(place: Place) => Promise<[name: string, detail: string][]>} Names
 */

/**
 * @param {string} code also one that is broken
 * @param {number} at the cursor
 * @returns {Place | null} null in a text, a comment or a number
 */
export function placeAt(code, at) {
  const line = code.slice(code.lastIndexOf("\n", at - 1) + 1, at);
  const word = /(?:(?![\p{N}])[\p{L}\p{N}_]+)?$/u.exec(line)[0];
  const from = at - word.length;
  const place = { from, owner: "", callee: "", package: null, members: false, hidden: word.startsWith("_") };
  const fromImport = FROM_IMPORT.exec(line);
  if (fromImport) return { ...place, package: fromImport[1], members: true };
  const imported = IMPORT.exec(line);
  if (imported) return { ...place, package: imported[1] ?? "" };
  const node = pythonLanguage.parser.parse(code).resolveInner(at, -1);
  if (isIn(node, TEXTS, ["FormatReplacement"])) return null;
  if (code[from - 1] === ".") {
    const owner = ownerBefore(code, from - 1);
    return owner && owner.length <= MOST_CHARACTERS ? { ...place, owner } : null;
  }
  const callee = /[(,]\s*$/.test(code.slice(0, from)) ? calleeAround(node, code) : "";
  return { ...place, callee: callee.length <= MOST_CHARACTERS ? callee : "" };
}

/** Returns the expression that ends at a dot; "" where none does. Brackets that are still open are no part of it. */
function ownerBefore(code, dot) {
  let owner = null;
  let node = pythonLanguage.parser.parse(code.slice(0, dot)).resolveInner(dot, -1);
  for (; node?.to === dot && !isOpen(node); node = node.parent) if (OWNERS.test(node.name)) owner = node;
  return owner ? code.slice(owner.from, dot) : "";
}

function isOpen(node) {
  for (let last = node; last; last = last.lastChild) if (last.type.isError) return true;
  return false;
}

/** Returns the function between whose brackets a node lies; "" inside of other brackets. */
function calleeAround(node, code) {
  for (let each = node; each; each = each.parent) {
    if (!BRACKETS.includes(each.name)) continue;
    if (each.name !== "ArgList" || each.parent?.name !== "CallExpression") return "";
    return code.slice(each.parent.from, each.parent.firstChild.to);
  }
  return "";
}

function isIn(node, names, except) {
  for (let each = node; each; each = each.parent) {
    if (except.includes(each.name)) return false;
    if (names.includes(each.name)) return true;
  }
  return false;
}

/**
 * @param {Names} names
 * @param {() => void} onNoNames the reader asked and there is none
 * @returns {import("@codemirror/autocomplete").CompletionSource}
 */
export function nameSource(names, onNoNames) {
  return async (context) => {
    const place = placeAt(context.state.doc.toString(), context.pos);
    if (!context.explicit && !place?.owner) return null;
    const known = place ? await names(place) : [];
    if (context.aborted) return null;
    const options = known.map(([label, detail]) => ({ label, detail, boost: boostOf(detail) }));
    if (place && !place.owner && place.package === null) options.push(...defined(context, new Set(known.map(([name]) => name))));
    if (options.length === 0) return context.explicit ? onNoNames() : null;
    return { from: place.from, options, validFor: place.hidden ? /^_\w*$/ : /^(?!_)\w*$/ };
  };
}

function boostOf(detail) {
  return { argument: 2, "built-in": -1 }[detail] ?? 1;
}

/** Returns the names that this cell defines and Python does not know yet. */
function defined(context, known) {
  const found = localCompletionSource(context)?.options ?? [];
  return found.filter(({ label }) => !known.has(label)).map(({ label }) => ({ label, detail: "this cell", boost: 1 }));
}
