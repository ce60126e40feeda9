/**
 * The view of `<page-run>`: printed when the site is built, and upgraded in place; when live, with the way back: a slider, the
 * parts of the model, and bars of exact match.
 */

import { percent, planeView } from "../plots/plane.js";
import { h } from "../figures/vnode.js";

const PRINTED = [
  h("span", { class: "no-script" }, "Training here needs JavaScript. "),
  "What each method does stands in the figure below.",
];
const WIDTH = 100; // of a bar, in units of its own
/** Stops of the slider, from 0 to 1. */
export const STOPS = 10;

/**
 * @param {object} view from `unfrozen.lab.choices`, with questions and downloads of the site builder
 * @param {{live?: boolean}} [opts] live: it can be used
 */
export function pageRunView(view, { live = false } = {}) {
  return h(
    "div",
    { class: "page-run stack" },
    h(
      "div",
      { class: "row page-run-head" },
      h("button", { type: "button", class: "button primary page-run-start", disabled: !live }, "Fine-tune it here"),
      h("p", { class: "page-run-note faint" }, live ? "" : PRINTED),
    ),
    h("p", { class: "page-run-status bad", role: "status" }),
    presetsView(view.presets, live),
    h("div", { class: "page-run-plane" }, planeView(view.challenge, [])),
    h("ol", { class: "page-run-list", "aria-label": "Your runs" }),
    askView(live, view.questions),
    live && wayBackView(),
    settingsView(view.dials, live),
  );
}

function presetsView(presets, live) {
  return h(
    "fieldset",
    { class: "page-run-presets stack", disabled: !live },
    h("legend", { class: "visually-hidden" }, "What to train with"),
    h(
      "div",
      { class: "chips", role: "group", "aria-label": "Presets" },
      presets.map(({ id, label }, index) =>
        h("button", { type: "button", class: "chip", "data-preset": id, "aria-pressed": String(index === 0) }, label),
      ),
    ),
    h("p", { class: "page-run-preset-note soft" }, presets[0].says),
  );
}

function settingsView(dials, live) {
  return h(
    "details",
    { class: "page-run-settings" },
    h("summary", null, "All settings"),
    h("fieldset", { class: "page-run-grid", disabled: !live }, dials.map(dialView)),
  );
}

function dialView({ name, label, note, stops, texts, at }) {
  return h(
    "div",
    { class: "page-run-dial entry" },
    h("label", { for: `page-run-${name}` }, label),
    h("output", { for: `page-run-${name}`, class: "numeric" }, texts[at]),
    h("input", {
      id: `page-run-${name}`,
      class: "range",
      type: "range",
      min: 0,
      max: stops.length - 1,
      step: 1,
      value: at,
      "data-dial": name,
      "aria-valuetext": texts[at],
      "aria-describedby": `page-run-${name}-note`,
    }),
    h("span", { class: "hint", id: `page-run-${name}-note` }, note),
  );
}

function askView(live, questions) {
  return h(
    "form",
    { class: "page-run-ask" },
    h("label", { for: "page-run-prompt" }, "Ask it"),
    h("input", {
      id: "page-run-prompt",
      class: "field-input page-run-prompt",
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      value: questions[0].prompt,
      disabled: !live,
    }),
    h(
      "span",
      { class: "row" },
      h("button", { type: "submit", class: "button", disabled: !live }, "Ask"),
      h("button", { type: "button", class: "button page-run-another", disabled: !live }, "Another question"),
    ),
    h("div", { class: "page-run-answers", role: "status" }),
  );
}

/**
 * Draws the continuations of both models, token by token; where they differ, they are marked.
 * @param {object} answer from `unfrozen.lab.session`, with the `alpha` of the second model and, of
 *   a held-out row, the `expected` answer
 */
export function answersView({ before, after, parts, step, note, problem, expected, alpha = 1 }) {
  if (problem) return h("p", { class: "page-run-problem bad" }, problem);
  return h(
    "div",
    null,
    answerLine("Before", before, after ? parts : Infinity),
    after
      ? answerLine(step ? (alpha === 1 ? `After ${step} steps` : `α = ${alpha}`) : "Not trained yet", after, parts)
      : h("p", { class: "faint" }, "Train it, and what it has become answers beside it."),
    expected && h("p", { class: "page-run-answer" }, h("span", { class: "faint" }, "Right"), h("span", { class: "page-run-answer-text" }, expected)),
    note && h("p", { class: "faint" }, note),
  );
}

function answerLine(who, { pieces, ended }, parts) {
  const empty = pieces.length === 0;
  return h(
    "p",
    { class: "page-run-answer" },
    h("span", { class: "faint" }, who),
    h(
      "span",
      { class: "page-run-answer-text" },
      empty && h("i", null, "ends at once"),
      pieces.map((piece, index) => h("span", { class: index >= parts ? "page-run-token page-run-token-differs" : "page-run-token" }, visible(piece))),
      !ended && !empty && h("span", { class: "page-run-answer-more" }, "…"),
    ),
  );
}

/** A token's line breaks as signs: an answer stays on its line. */
function visible(piece) {
  return piece.replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}

/**
 * The list of runs below the plane; numbers are those of the dots.
 * @param {import("../run/page-runs.js").PageRun[]} runs
 * @param {string} shown id of the one in the run view
 */
export function runsView(runs, shown) {
  return runs.map((run, index) => {
    return h(
      "li",
      { class: "row page-run-item", "data-run": run.id, "aria-current": run.id === shown ? "true" : null },
      h("span", { class: "page-run-number", "aria-hidden": "true" }, index + 1),
      h("span", { class: "page-run-item-title" }, run.title),
      h("span", { class: "page-run-item-score soft numeric" }, scoreText(run)),
      h("span", { class: "row" }, buttonsOf(run)),
    );
  });
}

function buttonsOf(run) {
  const button = (command, text) => h("button", { type: "button", class: "button-link", "data-command": command }, text);
  const show = button("show", "Show");
  if (!run.over) return [show];
  return [
    show,
    button("toggle-saved", run.saved ? "Remove from browser" : "Save in browser"),
    button("download", "Save log"),
    run.command && button("copy", "Copy command"),
  ];
}

function scoreText({ over, end, path }) {
  if (!over) return "training";
  const status = { stopped: "stopped", failed: "failed", oom: "out of memory" }[end?.status] ?? "ended";
  if (!path.length || !["finished", "stopped"].includes(end?.status)) return status;
  const { task, general } = path.at(-1);
  return `learned ${percent(task)}, kept ${percent(general)}`;
}

/** @typedef {{right: number, does_not_stop: number, wrong: number, of: number}} Exact rows */

export function wayBackView() {
  return h(
    "fieldset",
    { class: "page-run-back stack", hidden: true },
    h("legend", null, "The way back"),
    h(
      "p",
      { class: "soft", id: "page-run-back-note" },
      "Weights between those before training (α = 0) and after it (α = 1). Nothing is trained; bars and answers are those of the mixture.",
    ),
    h(
      "div",
      { class: "page-run-dial entry" },
      h("label", { for: "page-run-alpha" }, "α"),
      h("output", { for: "page-run-alpha", class: "numeric" }, "1"),
      h("input", {
        id: "page-run-alpha", class: "range", type: "range", min: 0, max: 1, step: 1 / STOPS, value: 1,
        "aria-describedby": "page-run-back-note",
      }),
    ),
    h("div", { class: "page-run-bars" }),
    h("p", { class: "page-run-back-status soft", role: "status" }),
  );
}

/**
 * Bars of the held-out sets: right, right but does not stop, wrong; a line where they were before training.
 * @param {Record<string, {before: Exact, now: Exact}>} exact by set
 */
export function barsView(exact) {
  const names = Object.keys(exact).filter((suite) => suite !== "general");
  return names.map((suite) => {
    const { before, now } = exact[suite];
    const x = (rows) => (WIDTH * rows) / Math.max(1, now.of);
    const more = now.does_not_stop;
    const text = `${now.right} of ${now.of} right${more ? `, ${more} more ${more === 1 ? "does" : "do"} not stop` : ""}`;
    return h(
      "div",
      { class: "page-run-bar" },
      h("span", null, suite.replace("general/", "")),
      h(
        "svg",
        { class: "drawing", viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: "none", "aria-hidden": "true" },
        h("rect", { class: "page-run-bar-wrong", width: WIDTH, height: 10 }),
        h("rect", { class: "page-run-bar-stop", width: x(now.right + now.does_not_stop), height: 10 }),
        h("rect", { class: "page-run-bar-right", width: x(now.right), height: 10 }),
        h("rect", { class: "page-run-bar-before", x: Math.max(0, x(before.right) - 0.4), width: 0.8, height: 10 }),
      ),
      h("span", { class: "numeric soft" }, `${text} (before ${before.right})`),
    );
  });
}
