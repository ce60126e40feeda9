/** Stretches of steps that a chart shows. */

const SHORTEST = 2; // steps: less is no line

/**
 * @param {[number, number]} range
 * @param {[number, number]} whole
 * @returns {[number, number] | null} the part of `range` inside `whole`, not too short; null for all
 */
export function clamped([low, high], [least, most]) {
  const length = Math.max(high - low, SHORTEST);
  if (length >= most - least) return null;
  const from = Math.max(least, Math.min(low, most - length));
  return [from, from + length];
}

/**
 * @param {[number, number]} range
 * @param {number} around the step that stays where it is
 * @param {number} factor below 1 shows less, above 1 more
 * @returns {[number, number]}
 */
export function stretched([low, high], around, factor) {
  return [around - (around - low) * factor, around + (high - around) * factor];
}
