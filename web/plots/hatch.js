/**
 * Hatching for stacked areas that touch: hidden on screen, drawn on paper and under high contrast,
 * where colours may not tell neighbours apart. Plain paths, so no ids and no patterns are needed.
 */

const SPACING = 6;

/** Strokes of each series in turn: none, rising, falling, level, upright, crossed. */
const KINDS = [[], ["rising"], ["falling"], ["level"], ["upright"], ["rising", "falling"]];

/** Corners of a diagonal at `offset` from the left edge, cut to a box of w × h. */
function diagonal(offset, { width, height }) {
  const from = Math.max(0, offset - height);
  const to = Math.min(width, offset);
  return to > from ? [from, offset - from, to, offset - to] : null; // x from, down, x to, down
}

function segments(kind, { left, top, width, height }) {
  const length = kind === "level" ? height : kind === "upright" ? width : width + height;
  const all = [];
  for (let offset = SPACING / 2; offset < length; offset += SPACING) {
    if (kind === "level") all.push([left, top + offset, left + width, top + offset]);
    else if (kind === "upright") all.push([left + offset, top, left + offset, top + height]);
    else {
      const cut = diagonal(offset, { width, height });
      if (!cut) continue;
      const [from, fromDown, to, toDown] = cut;
      const down = (y) => (kind === "rising" ? top + y : top + height - y);
      all.push([left + from, down(fromDown), left + to, down(toDown)]);
    }
  }
  return all;
}

/**
 * Path data that hatches a box in the manner of one series.
 * @param {number} series index of the line in its plot
 * @param {{left: number, top: number, width: number, height: number}} box pixels
 * @returns {string} empty for a series that stays plain
 */
export function hatchPath(series, box) {
  const round = (pixels) => Math.round(pixels * 10) / 10;
  return KINDS[series % KINDS.length]
    .flatMap((kind) => segments(kind, box))
    .map(([x1, y1, x2, y2]) => `M${round(x1)},${round(y1)}L${round(x2)},${round(y2)}`)
    .join("");
}
