/** The numbers behind a plot: as a table, and as the part of it a reader zoomed into. */

/**
 * The plot's data as a table of the cell contract, in the units it was given in.
 * @param {import("./model.js").Plot} data
 * @returns {import("../tables/view.js").Table}
 */
export function plotTable(data) {
  const value = data.y_label ? String(data.y_label) : "Value";
  return {
    headers: [
      data.x_label ? String(data.x_label) : "x",
      ...data.lines.map(({ label }) => (label ? String(label) : value)),
    ],
    units: [data.x_unit ?? "", ...data.lines.map(() => data.y_unit ?? "")],
    rows: data.x_data.map((x, index) => [x, ...data.lines.map((line) => line.data[index])]),
    caption: data.title ? String(data.title) : undefined,
  };
}

/**
 * The plot with only the points whose x lies in a range; null when fewer than two do.
 * @param {object} plot from `readPlot`, with a numeric x axis
 * @param {[number, number]} range
 */
export function zoomed(plot, [low, high]) {
  const kept = plot.x.flatMap((x, index) => (x >= low && x <= high ? [index] : []));
  if (kept.length < 2) return null;
  const pick = (values) => kept.map((index) => values[index]);
  return {
    ...plot,
    x: pick(plot.x),
    lines: plot.lines.map((line) => ({ ...line, values: pick(line.values) })),
  };
}
