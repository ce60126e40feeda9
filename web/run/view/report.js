/**
 * One run, or several, as files of their own: a report as one HTML page that opens from a disk without a server, a network or
 * a script, and the raw points as CSV. Both hold what the page shows, and no more.
 */

import { formatDate } from "../../figures/number.js";
import { fileName, saveFile } from "../../figures/tools.js";
import { h, toDom, toHtml } from "../../figures/vnode.js";
import { tableView } from "../../tables/view.js";
import { toCsv } from "../../tables/export.js";
import { axisOf, meaningWarning, standingText } from "../compare.js";
import { legendList } from "../../plots/guides.js";
import { keyOf } from "./chart-data.js";
import { chartPicture } from "./chart-picture.js";
import { makeCharts } from "./charts.js";
import { chartsOf, differencesView, planeOf, settingsTable, wayBackView } from "./compare-view.js";
import { examplesView } from "./examples.js";
import { headView, postMortemView } from "./head.js";
import { alertsView, answersView, driftFigure, lacksView, logView, memoryFigure, samplesView } from "./sections.js";
import { evalTable } from "./tables.js";

const WIDTH = 640;
const CHART_WIDTH = 480; // two beside one another
const MOST_LINES = 5000; // of CSV in one piece
const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

/** @typedef {import("../compare.js").Run} Run @typedef {import("./compare-view.js").Compared} Compared */

/** Offers a run as a page. @param {Run} run @param {object} options how its charts are drawn */
export function saveRunReport(run, options) {
  const title = String(run.start?.model?.name ?? "A training run");
  savePage(`${title}, ${run.run}`, h("div", { class: "run-report" }, titleView(`${title}: a training run`, [run]), runSections(run, options)));
}

/** Offers a comparison as a page. @param {Compared[]} compared @param {object} options how its charts are drawn */
export function saveComparison(compared, options) {
  const runs = compared.map(({ run }) => run);
  const warning = meaningWarning(runs);
  const content = h(
    "div",
    { class: "run-report" },
    titleView(`${compared.length} training runs compared`, runs),
    tableView(settingsTable(compared)),
    warning ? h("p", { class: "bad" }, warning) : differencesView(compared, options.against),
    chartFigures(chartsOf(compared, options), h("figure", { class: "run-figure" }, planeOf(compared, CHART_WIDTH))),
    compared.map(eachView),
  );
  savePage(`comparison of ${runs.map(({ run }) => run).join(" ")}`, content);
}

/** Offers the raw points of runs. @param {Run[]} runs */
export function savePoints(runs) {
  saveFile(fileName(runs.map(({ run }) => run).join(" "), "runs", "csv"), new Blob([...csvOf(runs)], { type: "text/csv" }));
}

function titleView(title, runs) {
  const logs = runs.map(({ run, firstTime }) => `${run}, begun ${formatDate(firstTime)}`).join("; ");
  return h("header", null, h("h1", null, title), h("p", { class: "quiet" }, `Logs: ${logs}. Written by Unfrozen; nothing in this page is loaded from anywhere.`));
}

function runSections(run, options) {
  return [
    headView(run),
    postMortemView(run),
    chartFigures(makeCharts(run, options)),
    tableView(evalTable(run)),
    memoryFigure(run.memory, WIDTH),
    driftFigure(run.drift, WIDTH),
    wayBackView(run, WIDTH),
    lacksView(run),
    alertsView(run),
    examplesView(run.rows, WIDTH),
    samplesView(run),
    answersView(run.answers),
    h("p", { class: "run-log quiet" }, logView(run)),
  ];
}

/** Returns how one of several runs stands, its memory and its samples. */
function eachView({ run, number, title }) {
  const standing = standingText(run, false);
  return h(
    "section",
    { class: "run-section stack" },
    h("h2", null, `${number} · ${title}`),
    standing && h("p", { class: "run-standing" }, standing),
    memoryFigure(run.memory, WIDTH),
    samplesView(run),
  );
}

function chartFigures(charts, plane) {
  const drawn = Object.values(charts).filter((chart) => chart?.lines.some(({ x }) => x.length));
  return h("div", { class: "stack run-charts" }, drawn.map(chartFigure), plane);
}

function chartFigure(chart) {
  const named = chart.lines.filter(({ end, faint }) => end !== "" && !faint);
  return h(
    "figure",
    { class: "run-figure" },
    h("h3", { class: "run-chart-title" }, chart.title),
    h("div", { class: "run-lines" }, legendList(named.map((line) => ({ swatch: keyOf(line), label: line.label })))),
    chartPicture(chart, CHART_WIDTH),
    h("p", { class: "run-chart-note quiet" }, chart.note),
  );
}

function savePage(title, content) {
  const page = document.implementation.createHTMLDocument(title);
  const main = page.body.appendChild(page.createElement("main")).appendChild(page.createElement("run-view")); // with its looks
  main.append(toDom(content));
  for (const link of main.querySelectorAll("a:not([href^='https:'], [href^='#'])")) link.replaceWith(...link.childNodes);
  for (const fold of main.querySelectorAll("details")) fold.open = true;
  saveFile(fileName(title, "report", "html"), new Blob([pageText(title, page)], { type: "text/html" }));
}

/** Returns a page with its styles as text. @param {string} title @param {Document} page */
function pageText(title, page) {
  const style = [...document.styleSheets].flatMap((sheet) => usedRules(sheet.cssRules, page)).join("\n");
  const head = [
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    toHtml(h("title", null, title)),
    `<style>${style.replaceAll("</", "<\\/")}</style>`,
  ];
  return `<!doctype html>\n<html lang="en">\n<head>\n${head.join("\n")}\n</head>\n${page.body.outerHTML}\n</html>\n`;
}

/** Returns the rules of this page's styles that the other page needs, as text; of fonts none. */
function usedRules(rules, page) {
  return [...rules].flatMap((rule) => {
    if (rule instanceof CSSStyleRule) return isUsed(rule.selectorText, page) ? [rule.cssText] : [];
    if (!(rule instanceof CSSGroupingRule)) return [];
    const inner = usedRules(rule.cssRules, page);
    return inner.length ? [`${rule.cssText.slice(0, rule.cssText.indexOf("{"))}{\n${inner.join("\n")}\n}`] : [];
  });
}

function isUsed(selector, page) {
  const plain = selector.replace(/::[a-z-]+|:(?:before|after|hover|focus[a-z-]*|active)/g, ""); // parts and states of an element
  try {
    return page.querySelector(plain) !== null || page.documentElement.matches(plain);
  } catch {
    return false; // a selector of one browser
  }
}

/**
 * Yields the raw points of runs as CSV, a row for each step of each run, some thousand lines at a time. What a resume
 * abandoned is marked, and comes after what counts.
 * @param {Run[]} runs
 */
export function* csvOf(runs) {
  const names = [...new Set(runs.flatMap((run) => pointsOf(run).map(([name]) => name)))].sort();
  yield toCsv({ headers: ["run", "step", "seconds", "abandoned", ...names], rows: [] });
  for (const run of runs) {
    const all = pointsOf(run);
    yield* rowsOf(run, names, new Map(all), "");
    for (const [name, { old }] of all) for (const points of old) yield* rowsOf(run, names, new Map([[name, points]]), "yes");
  }
}

/** Returns all points of a run by what they are named in a table. @returns {[string, import("../fold.js").Series][]} */
function pointsOf(run) {
  const named = (group, prefix) => Object.entries(group).map(([name, points]) => [prefix + name, points]);
  return [...named(run.series, ""), ...named(run.evals, "eval/"), ...named(run.right, "right/")];
}

/** Yields rows; a step at which a series has several points has as many rows. */
function* rowsOf(run, names, points, abandoned) {
  const columns = names.map((name) => ({ x: points.get(name)?.x ?? [], y: points.get(name)?.y ?? [], at: 0 }));
  const first = Math.min(...columns.flatMap(({ x }) => (abandoned && x.length ? [x[0]] : [])));
  const seconds = axisOf(run, "seconds", first);
  const lines = [];
  for (;;) {
    const step = columns.reduce((least, { x, at }) => Math.min(least, x[at] ?? Infinity), Infinity);
    if (step === Infinity) break;
    lines.push([step, columns.map((column) => (column.x[column.at] === step ? column.y[column.at++] : ""))]);
  }
  const times = seconds(lines.map(([step]) => step));
  for (let from = 0; from < lines.length; from += MOST_LINES) {
    const some = lines.slice(from, from + MOST_LINES);
    const rows = some.map(([step, values], index) => [run.run, step, times[from + index], abandoned, ...values]);
    yield toCsv({ headers: [], rows }).slice("\r\n".length);
  }
}
