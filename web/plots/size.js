/** The sizes every part of a plot agrees on, in pixels. */

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
  return Math.round(width * (width < NARROW_BELOW ? 0.85 : 0.56) * 10) / 10;
}
