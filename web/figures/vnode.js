/**
 * A small virtual DOM: one tree becomes HTML when the site is built (Node), and DOM nodes in the reader's
 * browser, so that the built page and the live page agree.
 *
 * It cannot inject code: text is always escaped or a text node, event handlers and inline styles are
 * refused, and so are elements and URLs that load or run something. Only `h` makes nodes: an object of the
 * same shape, from a log or a cell, is refused too.
 */

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const VOID_TAGS = new Set(["br", "col", "hr", "input", "wbr"]);
const TAGS = new Set(
  ("a abbr b br button caption cite code col colgroup dd del details dfn div dl dt em fieldset figcaption " +
    "figure footer form h1 h2 h3 h4 h5 h6 header hr i input ins kbd label legend li mark meter nav ol optgroup " +
    "option output p pre progress q s samp section select small span strong sub summary sup table tbody td " +
    "textarea tfoot th thead time tr u ul var wbr " +
    "svg circle clipPath defs desc ellipse g line linearGradient path pattern polygon polyline rect stop " +
    "text title tspan").split(" "),
);
const CODE = new Set(["code", "del", "ins", "kbd", "pre", "samp"]);
/** Characters that are not seen, or turn the others around: in code they hide what it does. */
export const UNSEEN = /(?![\n\t])[\p{Cc}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/gu;
const NAME = /^[a-zA-Z][a-zA-Z0-9:-]*$/;
const REFUSED = /^(on|style$|srcdoc$|formaction$|action$|src$|srcset$|poster$|data$|background$|ping$|xlink)/i;
const ADDRESS = /^(#|https:\/\/|\.\.\/#|(\.\.\/\.\.\/)?(planner|runs)\/(#|$))/; // no scheme that runs code; of this site, its pages

/** A node made by `h`; an object of the same shape is none. */
class VNode {
  #made = true;

  /**
   * @param {string} tag
   * @param {Record<string, string>} attrs
   * @param {(VNode | string)[]} children
   */
  constructor(tag, attrs, children) {
    this.tag = tag;
    this.attrs = attrs;
    this.children = children;
    Object.freeze(this);
  }

  /** @returns {boolean} whether `h` made a value */
  static isOurs(value) {
    return typeof value === "object" && value !== null && #made in value;
  }
}

/**
 * Builds one node. Children may nest in arrays; `null`, `undefined` and `false` are left out.
 * @param {string} tag element name
 * @param {Record<string, string | number | boolean | null | undefined> | null} attrs
 *   `true` becomes an empty attribute; `false`, `null` and `undefined` leave it out
 * @param {...unknown} children nodes, strings or numbers
 * @returns {VNode}
 * @throws {TypeError} for an element, handler, style or address this tree must not carry, and for a
 *   child that is an object but no node
 */
export function h(tag, attrs, ...children) {
  if (!TAGS.has(tag)) {
    throw new TypeError(`a vnode cannot be <${tag}>; use a plain HTML or SVG element`);
  }
  const parts = cleanChildren(children);
  return new VNode(tag, cleanAttrs(attrs ?? {}), CODE.has(tag) ? parts.flatMap(showUnseen) : parts);
}

/** Returns a node as it is, a text with a name in the place of each character that is not seen. */
function showUnseen(part) {
  const names = typeof part === "string" && part.match(UNSEEN);
  if (!names) return [part];
  const texts = part.split(UNSEEN);
  const marks = names.map((character) => h("mark", { class: "unseen" }, nameOf(character.codePointAt(0))));
  return texts.flatMap((text, index) => [text, marks[index]]).filter(Boolean);
}

/** Returns how Unicode writes a character: `U+202E`. @param {number} code */
export function nameOf(code) {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function cleanAttrs(attrs) {
  const clean = Object.create(null);
  for (const [name, value] of Object.entries(attrs)) {
    if (!NAME.test(name) || REFUSED.test(name)) {
      throw new TypeError(`attribute ${name} is refused; add listeners and classes instead`);
    }
    if (value === null || value === undefined || value === false) continue;
    clean[name] = value === true ? "" : String(value);
    if (/^href$/i.test(name) && !ADDRESS.test(clean[name])) {
      throw new TypeError(`href ${clean[name].slice(0, 80)} is refused; use a #fragment, a page of this site or an https address`);
    }
  }
  return clean;
}

function cleanChildren(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (VNode.isOurs(child) ? child : plainText(child)));
}

function plainText(child) {
  if (typeof child === "object") throw new TypeError("a child is an object but no node; only h makes nodes");
  return String(child);
}

/** Returns a node or a text; throws for anything else. */
function known(node) {
  if (typeof node === "string" || VNode.isOurs(node)) return node;
  throw new TypeError("only nodes made by h can be drawn");
}

/** Escapes text for element content and double-quoted attributes. */
function escape(text) {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/**
 * Serializes a tree as HTML, which is also well-formed XML: an `<svg>` with an `xmlns` attribute can be
 * saved as a file.
 * @param {VNode | string} node
 * @returns {string}
 */
export function toHtml(node) {
  if (typeof known(node) === "string") return escape(node);
  const attrs = Object.entries(node.attrs)
    .map(([name, value]) => ` ${name}="${escape(value)}"`)
    .join("");
  if (VOID_TAGS.has(node.tag)) return `<${node.tag}${attrs} />`;
  return `<${node.tag}${attrs}>${node.children.map(toHtml).join("")}</${node.tag}>`;
}

/**
 * Makes DOM nodes of a tree; everything from an `<svg>` down is in the SVG namespace.
 * @param {VNode | string} node
 * @param {boolean} [inSvg] whether the parent is an SVG element
 * @returns {Node}
 */
export function toDom(node, inSvg = false) {
  if (typeof known(node) === "string") return document.createTextNode(node);
  const isSvg = inSvg || node.tag === "svg";
  const element = isSvg
    ? document.createElementNS(SVG_NAMESPACE, node.tag)
    : document.createElement(node.tag);
  for (const [name, value] of Object.entries(node.attrs)) element.setAttribute(name, value);
  for (const child of node.children) element.append(toDom(child, isSvg));
  return element;
}
