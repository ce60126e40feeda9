/** Curves of a run that nothing here has a name for: one small chart each, under their own names. */

import "./chart.js";
import { otherName, otherSeries } from "../imported.js";

const MOST_SHOWN = 24;

/** What holds the charts, closed until a reader opens it. */
export function buildOthers() {
  const others = Object.assign(document.createElement("details"), { className: "run-tables run-others" });
  const summary = document.createElement("summary");
  const charts = Object.assign(document.createElement("div"), { className: "run-charts" });
  const note = Object.assign(document.createElement("p"), { className: "run-chart-note" });
  others.append(summary, charts, note);
  others.addEventListener("toggle", () => others.open && others.run && fill(others, others.run));
  return others;
}

/**
 * Of a run without such curves nothing is there.
 * @param {HTMLElement} others @param {import("./charts.js").Run} run @param {HTMLElement} before
 */
export function drawOthers(others, run, before) {
  const count = otherSeries(run).length;
  others.run = run;
  if (count === 0) return others.remove();
  if (!others.isConnected) before.after(others);
  const text = `${count} more ${count === 1 ? "curve" : "curves"}, under the names that the run gave them`;
  if (others.firstChild.textContent !== text) others.firstChild.textContent = text;
  if (others.open) fill(others, run);
}

function fill(others, run) {
  const names = otherSeries(run);
  const [, charts, note] = others.children;
  while (charts.children.length > Math.min(names.length, MOST_SHOWN)) charts.lastChild.remove();
  names.slice(0, MOST_SHOWN).forEach((name, place) => {
    const chart = charts.children[place] ?? charts.appendChild(document.createElement("run-chart"));
    chart.className = "run-chart-low";
    const version = `${run.run} ${run.events} ${name}`;
    if (chart.dataset.version === version) return;
    chart.dataset.version = version;
    chart.chart = chartOf(run, name);
  });
  const more = names.length - MOST_SHOWN;
  note.textContent = more > 0 ? `${more} more are in the log.` : "";
}

function chartOf(run, name) {
  const { x, y } = run.series[name];
  const line = { label: otherName(name), color: "--series-1", x, y, end: "", dots: x.length < 60 };
  return { of: run.run, title: otherName(name), unit: "1", room: 24, note: "", lines: [line] };
}
