/** A drawn plot as a file of its own: SVG with its looks written in, PNG, CSV. Needs a browser. */

import { plotTable } from "./data.js";
import { pngOf } from "./raster.js";
import { textWidth } from "./text.js";
import { toCsv } from "../tables/export.js";

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const LOOKS = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linecap",
  "stroke-linejoin",
  "opacity",
  "paint-order",
  "font-family",
  "font-size",
  "font-weight",
];
const TITLE_HEIGHT = 34;
const PAD = 16;
const TITLE_SIZE = 15;

/**
 * The plot as a file.
 * @param {"svg" | "png" | "csv"} kind
 * @param {{picture: SVGSVGElement, title: string, data: import("./model.js").Plot}} plot
 * @returns {Promise<Blob>}
 * @throws {Error} when the browser cannot make it
 */
export async function plotFile(kind, { picture, title, data }) {
  if (kind === "csv") return new Blob([toCsv(plotTable(data))], { type: "text/csv" });
  const svg = standaloneSvg(picture, title);
  if (kind === "png") return pngOf(svg);
  return new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });
}

/**
 * The picture as an SVG that looks the same without this page's style sheets, with paper around all
 * that is drawn: names at the ends of lines may reach beyond the picture's own edge.
 * @param {SVGSVGElement} picture in the page
 * @param {string} title drawn above it
 * @returns {SVGSVGElement}
 */
function standaloneSvg(picture, title) {
  const copy = picture.cloneNode(true);
  copy.querySelector(".plot-cursor")?.remove();
  const originals = [...picture.querySelectorAll("*")].filter(
    (each) => !each.closest(".plot-cursor"),
  );
  const plain = plainColors();
  [...copy.querySelectorAll("*")].forEach((element, index) =>
    writeLooks(element, getComputedStyle(originals[index]), plain),
  );
  const sheet = sheetOf(picture, title);
  const { x, y, width, height } = sheet;
  copy.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  copy.prepend(svgElement("rect", { ...sheet, fill: token("--paper") || "white" }), ...heading(picture, title, y + PAD + 16));
  return copy;
}

/** The sheet of paper: the picture, whatever sticks out of it, its title, and a margin. */
function sheetOf(picture, title) {
  const { width, height } = picture.viewBox.baseVal;
  const drawn = [...picture.children].filter((each) => !each.matches(".plot-cursor")).map((each) => each.getBBox());
  const left = Math.min(0, ...drawn.map(({ x }) => x));
  const right = Math.max(width, textWidth(title, TITLE_SIZE), ...drawn.map((box) => box.x + box.width));
  const top = Math.min(0, ...drawn.map(({ y }) => y)) - (title ? TITLE_HEIGHT : 0);
  const bottom = Math.max(height, ...drawn.map((box) => box.y + box.height));
  const [x, y] = [Math.floor(left) - PAD, Math.floor(top) - PAD];
  return { x, y, width: Math.ceil(right) + PAD - x, height: Math.ceil(bottom) + PAD - y };
}

function writeLooks(element, style, plain) {
  for (const name of LOOKS) {
    const value = style.getPropertyValue(name);
    element.setAttribute(name, name === "fill" || name === "stroke" ? plain(value) : value);
  }
  element.removeAttribute("class");
  element.removeAttribute("color");
}

/** Newer colour spaces become rgb, which every program reads. */
function plainColors() {
  const context = Object.assign(document.createElement("canvas"), {
    width: 1,
    height: 1,
  }).getContext("2d", { willReadFrequently: true });
  return (color) => {
    if (!/^(?:oklch|oklab|lab|lch|color)\(/.test(color)) return color;
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    return `rgba(${red}, ${green}, ${blue}, ${alpha / 255})`;
  };
}

function svgElement(tag, attrs) {
  const element = document.createElementNS(SVG_NAMESPACE, tag);
  for (const [name, value] of Object.entries(attrs)) element.setAttribute(name, String(value));
  return element;
}

function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function heading(picture, title, y) {
  if (!title) return [];
  const name = svgElement("title", {});
  name.textContent = title;
  const text = svgElement("text", {
    x: 0,
    y,
    fill: token("--ink") || "black",
    "font-family": getComputedStyle(picture).fontFamily,
    "font-size": TITLE_SIZE,
    "font-weight": 600,
  });
  text.textContent = title;
  return [name, text];
}
