/** A drawn plot as a file of its own: SVG with its looks written in, PNG, CSV. Needs a browser. */

import { plotTable } from "./data.js";
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
const PNG_SCALE = 2;

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
  return kind === "svg" ? new Blob([svg], { type: "image/svg+xml" }) : pngOf(svg);
}

/**
 * The picture as SVG text that looks the same without this page's style sheets.
 * @param {SVGSVGElement} picture in the page
 * @param {string} title drawn above it
 * @returns {string}
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
  const { width, height } = picture.viewBox.baseVal;
  const top = title ? TITLE_HEIGHT : 0;
  const size = [width + 2 * PAD, height + top + 2 * PAD].map(Math.round);
  copy.setAttribute("viewBox", `${-PAD} ${-PAD - top} ${size.join(" ")}`);
  copy.setAttribute("width", String(size[0]));
  copy.setAttribute("height", String(size[1]));
  copy.prepend(paper(size, top), ...heading(picture, title));
  return new XMLSerializer().serializeToString(copy);
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

function paper([width, height], top) {
  return svgElement("rect", {
    x: -PAD,
    y: -PAD - top,
    width,
    height,
    fill: token("--paper") || "white",
  });
}

function heading(picture, title) {
  if (!title) return [];
  const name = svgElement("title", {});
  name.textContent = title;
  const text = svgElement("text", {
    x: 0,
    y: -TITLE_HEIGHT + 16,
    fill: token("--ink") || "black",
    "font-family": getComputedStyle(picture).fontFamily,
    "font-size": 15,
    "font-weight": 600,
  });
  text.textContent = title;
  return [name, text];
}

/**
 * SVG text as a PNG of twice its size.
 * @param {string} svg
 * @returns {Promise<Blob>}
 * @throws {Error} when the browser cannot draw it
 */
async function pngOf(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(image.width * PNG_SCALE);
  canvas.height = Math.round(image.height * PNG_SCALE);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("the browser could not make a PNG; save the SVG instead");
  return blob;
}
