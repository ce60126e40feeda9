/** Lines with steps of their own, laid on one common axis of steps, as uPlot wants them. */

/**
 * @param {import("./chart.js").Line[]} lines each with rising x
 * @returns {(number | null | undefined)[][]} steps, then one column a line. `undefined` where a line
 *   has no point (it is drawn through), `null` where its value is not a finite number (a gap)
 */
export function alignedData(lines) {
  const steps = commonSteps(lines.map((line) => line.x));
  return [steps, ...lines.map((line) => column(line, steps))];
}

/**
 * Points that no line is drawn to, because there is no other one before the next gap: they need a dot.
 * @param {(number | null | undefined)[]} values a column of `alignedData`
 * @returns {number[]} their places
 */
export function lonePoints(values) {
  const lone = [];
  let last = -1; // of the stretch without a gap that ends here
  let count = 0;
  const close = () => count === 1 && lone.push(last);
  values.forEach((value, place) => {
    if (value === undefined) return;
    if (value === null) {
      close();
      count = 0;
    } else {
      last = place;
      count += 1;
    }
  });
  close();
  return lone;
}

function commonSteps(lists) {
  const longest = lists.reduce((a, b) => (b.length > a.length ? b : a), []);
  const known = new Set(longest);
  const extra = lists.flatMap((x) => (x === longest ? [] : x.filter((step) => !known.has(step))));
  if (extra.length === 0) return longest.slice();
  return [...new Set([...longest, ...extra])].sort((a, b) => a - b);
}

function column({ x, y }, steps) {
  const values = new Array(steps.length).fill(undefined);
  let place = 0;
  for (let index = 0; index < x.length; index += 1) {
    while (steps[place] < x[index]) place += 1;
    values[place] = Number.isFinite(y[index]) ? y[index] : null;
  }
  return values;
}
