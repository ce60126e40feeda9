/**
 * The view of the way back from a fine-tune: a slider, the parts of the model, and bars of exact match.
 */

import { h } from "../figures/vnode.js";

const PARTS = { embed_tokens: "Embedding", self_attn: "Attention", mlp: "MLP" };
const WIDTH = 100; // of a bar, in units of its own
/** Stops of the slider, from 0 to 1. */
export const STOPS = 10;

/** @typedef {{right: number, does_not_stop: number, wrong: number, of: number}} Exact rows */

/**
 * @param {string[]} parts of the model, from `unfrozen.lab.scoring`
 */
export function wayBackView(parts) {
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
    h(
      "div",
      { class: "chips", role: "group", "aria-label": "Put back to the weights before training" },
      h("span", { class: "soft" }, "Put back:"),
      parts.map((part) => h("button", { type: "button", class: "chip", "data-part": part, "aria-pressed": "false" }, partName(part))),
    ),
    h("div", { class: "page-run-bars" }),
    h("p", { class: "page-run-back-status soft", role: "status" }),
  );
}

export function partName(part) {
  return PARTS[part] ?? part.replace("layers.", "Layer ");
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
