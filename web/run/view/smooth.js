/** A line without its noise, for the eye; the numbers stay those of the log. */

const WEIGHT = 0.9; // of what was before: about the last ten steps count

/**
 * Exponential moving mean, without the pull of its start (Kingma and Ba, "Adam", section 3).
 * @param {number[]} values
 * @returns {number[]} as many; where a value is not finite it is left as it is, and left out
 */
export function smoothed(values) {
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    mean = WEIGHT * mean + (1 - WEIGHT) * value;
    share = WEIGHT * share + (1 - WEIGHT);
    return mean / share;
  });
}
