/**
 * One small tree for two worlds: a picture is built once as plain objects, printed to HTML when the
 * site is built (Node) and turned into DOM nodes in the reader's browser. Both come from the same
 * tree, so the baked page and the live page agree.
 *
 * Safety is in the shape: text is only ever escaped text or a text node, event handlers and inline
 * styles cannot be expressed, and raw-text elements are refused. Reader data needs no cleaning.
 */

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const VOID_TAGS = new Set(["br", "col", "hr", "img", "input", "wbr"]);
const REFUSED_TAGS = new Set(["script", "style", "iframe", "object", "embed", "template"]);
const NAME = /^[a-zA-Z][a-zA-Z0-9:-]*$/;

/** @typedef {{tag: string, attrs: Record<string, string>, children: (VNode | string)[]}} VNode */

/**
 * Builds one node. Children may nest in arrays; `null`, `undefined` and `false` are left out.
 * @param {string} tag element name
 * @param {Record<string, string | number | boolean | null | undefined> | null} attrs
 *   `true` becomes an empty attribute; `false`, `null` and `undefined` leave it out
 * @param {...unknown} children nodes, strings or numbers
 * @returns {VNode}
 * @throws {TypeError} for an element, handler or style this tree must not carry
 */
export function h(tag, attrs, ...children) {
  if (!NAME.test(tag) || REFUSED_TAGS.has(tag)) {
    throw new TypeError(`a vnode cannot be <${tag}>; use a plain HTML or SVG element`);
  }
  return { tag, attrs: cleanAttrs(attrs ?? {}), children: cleanChildren(children) };
}

function cleanAttrs(attrs) {
  const clean = {};
  for (const [name, value] of Object.entries(attrs)) {
    if (!NAME.test(name) || /^(on|style$|srcdoc$)/i.test(name)) {
      throw new TypeError(`attribute ${name} is refused; add listeners and classes instead`);
    }
    if (value === null || value === undefined || value === false) continue;
    clean[name] = value === true ? "" : String(value);
  }
  return clean;
}

function cleanChildren(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (typeof child === "object" ? child : String(child)));
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
 * Prints a tree as HTML. The result is also well-formed XML, so a lone `<svg>` can be saved as a
 * file (give it an `xmlns` attribute).
 * @param {VNode | string} node
 * @returns {string}
 */
export function toHtml(node) {
  if (typeof node === "string") return escape(node);
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
  if (typeof node === "string") return document.createTextNode(node);
  const isSvg = inSvg || node.tag === "svg";
  const element = isSvg
    ? document.createElementNS(SVG_NAMESPACE, node.tag)
    : document.createElement(node.tag);
  for (const [name, value] of Object.entries(node.attrs)) element.setAttribute(name, value);
  for (const child of node.children) element.append(toDom(child, isSvg));
  return element;
}
