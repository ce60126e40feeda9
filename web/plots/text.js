/**
 * The sizes on which every part of a plot agrees, and the width of a text without a browser: label columns
 * are sized when the site is built, in Node. Advances of Inter at weight 500, in hundredths of the font size.
 */

/** Characters 32 to 126; digits are counted as tabular. */
const ADVANCES = [
  27, 30, 49, 64, 65, 99, 65, 31, 37, 37, 52, 67, 30, 46, 30, 37, 65, 65, 65, 65, 66, 65, 65, 65,
  65, 65, 30, 32, 67, 67, 67, 53, 98, 71, 66, 73, 72, 60, 59, 75, 74, 27, 58, 69, 57, 91, 76, 77,
  64, 77, 65, 65, 65, 74, 71, 100, 70, 70, 64, 37, 37, 37, 48, 46, 34, 57, 62, 58, 62, 59, 38, 62,
  60, 25, 25, 56, 25, 89, 60, 60, 62, 62, 39, 54, 34, 60, 57, 83, 56, 58, 56, 44, 35, 44, 67,
];
const OTHER_ADVANCE = 67;
const WIDE_ADVANCE = 105;
const WIDE_CHARACTERS = /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uff00-\uff60\u{1f000}-\u{1faff}]/u;

/**
 * Width in pixels of a text in the interface face.
 * @param {string} text
 * @param {number} size font size in pixels
 * @returns {number}
 */
export function textWidth(text, size) {
  let hundredths = 0;
  for (const character of text) {
    const code = character.codePointAt(0);
    const isWide = WIDE_CHARACTERS.test(character);
    hundredths +=
      ADVANCES[code - 32] ?? (isWide ? WIDE_ADVANCE : code === 0xa0 ? 27 : OTHER_ADVANCE);
  }
  return (hundredths * size) / 100;
}

/** Cuts a text to a width, ending in "…" when something was cut. */
export function fitText(text, width, size) {
  if (textWidth(text, size) <= width) return text;
  const characters = [...text];
  while (characters.length > 1 && textWidth(`${characters.join("")}…`, size) > width)
    characters.pop();
  return `${characters.join("").trimEnd()}…`;
}

/**
 * Breaks a text between words, and after hyphens, into lines of at most `width` pixels; the last line is cut to fit.
 * @param {string} text
 * @param {number} width pixels
 * @param {number} size font size in pixels
 * @param {number} [most] how many lines at most
 * @returns {string[]} at least one line
 */
export function wrapText(text, width, size, most = 2) {
  const lines = [];
  let line = "";
  for (const word of text.split(/[ \n\t]+|(?<=[^\s-]-)(?=[^\s-])/)) {
    const longer = line ? `${line}${isHyphenated(text, line, word) ? "" : " "}${word}` : word;
    if (!line || textWidth(longer, size) <= width || lines.length === most - 1) line = longer;
    else {
      lines.push(line);
      line = word;
    }
  }
  lines.push(line);
  return lines.map((each) => fitText(each, width, size));
}

/** Whether `word` continues the hyphenated end of `line` in the original text. */
function isHyphenated(text, line, word) {
  return line.endsWith("-") && text.includes(`${line.split(" ").at(-1)}${word}`);
}

/** Font size and line height of every text in a plot, in pixels. */
export const FONT_SIZE = 12;
export const LEADING = 15;

/** Widths baked into the page: one for a text column, one for a telephone. */
export const WIDE = 680;
export const NARROW = 360;
/** Below this width a plot takes the proportions of the narrow one. */
export const NARROW_BELOW = 520;

/** The height that goes with a width, so that turning live moves nothing. */
export function heightFor(width) {
  return Math.round(width * (width < NARROW_BELOW ? 0.72 : 0.5) * 10) / 10;
}
