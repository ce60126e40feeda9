/**
 * An SVG as a PNG, its words set by the page: an image of an SVG is shut off from the page's fonts,
 * so lines and areas are drawn from the image and every text on top of it. Needs a browser.
 */

const SCALE = 2;

/**
 * A lone picture as a PNG of twice its size.
 * @param {SVGSVGElement} svg with its looks in attributes; texts stand where `x`, `y` and `dy` say
 * @returns {Promise<Blob>}
 * @throws {Error} when the browser cannot draw it
 */
export async function pngOf(svg) {
  const { x, y, width, height } = svg.viewBox.baseVal;
  const canvas = Object.assign(document.createElement("canvas"), {
    width: Math.round(width * SCALE),
    height: Math.round(height * SCALE),
  });
  const context = canvas.getContext("2d");
  context.drawImage(await imageOf(svg), 0, 0, canvas.width, canvas.height);
  context.scale(SCALE, SCALE);
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
