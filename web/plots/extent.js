/** How far the data reaches: what each axis must cover, and how bars stand on one another. */

/** Smallest and largest of the given numbers; null when there is none. */
function extentOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? null : [low, high];
}

/** Whether there is anything to draw. */
export function hasData(plot) {
  return (
    plot.x.length > 0 && plot.lines.some((line) => line.values.some((value) => value !== null))
  );
}

/**
 * For every line and index, where its bar begins and ends. Stacked bars pile up from zero, negative
 * ones downwards; other bars begin at zero.
 * @returns {([number, number] | null)[][]} [line][index]
 */
export function barSpans(plot) {
  const above = plot.x.map(() => 0);
  const below = plot.x.map(() => 0);
  return plot.lines.map((line) =>
    line.values.map((value, index) => {
      if (value === null) return null;
      if (plot.type === "bar") return [0, value];
      const pile = value < 0 ? below : above;
      pile[index] += value;
      return [pile[index] - value, pile[index]];
    }),
  );
}

/** The y extent: bars and thresholds from zero; lines from zero too unless that would waste half. */
export function yExtent(plot) {
  const marks =
    plot.type === "line" ? plot.lines.map((line) => line.values) : barSpans(plot).flat();
  const limits = plot.thresholds.map(({ value }) => value);
  const extents = [...marks.map((each) => extentOf(each ?? [])), extentOf(limits)].filter(Boolean);
  const [low, high] = extentOf(extents.flat());
  if (plot.yLog) return [low, high];
  if (plot.type !== "line") return [Math.min(0, low), Math.max(0, high)];
  return low > 0 && low < high / 2 ? [0, high] : [low, high];
}

/** The x extent of a numeric axis. */
export function xExtent(plot) {
  return extentOf(plot.x);
}
