/** A drawn plot as a file of its own: SVG with its looks written in, PNG, CSV. Needs a browser. */

import { plotTable } from "./model.js";
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

const PNG_SCALE = 2;

/**
 * Returns a standalone picture as a PNG of twice its size. An image made from an SVG cannot use the page's
 * fonts, so lines and areas are drawn from the image and the page draws every text on top of it.
 * @param {SVGSVGElement} svg with its looks in attributes; texts stand where `x`, `y` and `dy` say
 * @returns {Promise<Blob>}
 * @throws {Error} when the browser cannot draw it
 */
export async function pngOf(svg) {
  const { x, y, width, height } = svg.viewBox.baseVal;
  const canvas = Object.assign(document.createElement("canvas"), {
    width: Math.round(width * PNG_SCALE),
    height: Math.round(height * PNG_SCALE),
  });
  const context = canvas.getContext("2d");
  context.drawImage(await imageOf(svg), 0, 0, canvas.width, canvas.height);
  context.scale(PNG_SCALE, PNG_SCALE);
  context.translate(-x, -y);
  await document.fonts.ready;
  for (const text of svg.querySelectorAll("text")) paintText(context, text);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("the browser could not make a PNG; save the SVG instead");
  return blob;
}

async function imageOf(svg) {
  const mute = svg.cloneNode(true);
  for (const text of mute.querySelectorAll("text")) text.remove();
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(mute))}`;
  await image.decode();
  return image;
}

const ANCHORS = { start: "left", middle: "center", end: "right" };

function paintText(context, text) {
  const of = (name) => text.getAttribute(name) ?? "";
  const size = Number.parseFloat(of("font-size"));
  const down = of("dy").endsWith("em") ? Number.parseFloat(of("dy")) * size : Number(of("dy"));
  const place = [text.textContent, Number(of("x")), Number(of("y")) + down];
  context.font = `${of("font-weight") || 400} ${size}px ${of("font-family")}`;
  context.textAlign = ANCHORS[of("text-anchor")] ?? "left";
  context.globalAlpha = of("opacity") === "" ? 1 : Number(of("opacity"));
  if (of("stroke") && of("stroke") !== "none") {
    context.strokeStyle = of("stroke");
    context.lineWidth = Number.parseFloat(of("stroke-width")) || 1;
    context.lineJoin = "round";
    context.strokeText(...place);
  }
  context.fillStyle = of("fill");
  context.fillText(...place);
}
