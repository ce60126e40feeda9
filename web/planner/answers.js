/** The planner's texts and numbers: verdict, parts, advice, inverse answers, what to type. */

import { spellCommand } from "../run/command-line.js";
import { swatch } from "./figures.js";
import { askView } from "./hub-config.js";
import { h } from "../figures/vnode.js";

const FIRST = 6; // changes shown at first: the best trades of memory against time

/** The headline. @param {{kind: string, title: string, text: string}} verdict */
export function verdictView({ kind, title, text }, facts) {
  return h(
    "div",
    { class: `mp-verdict mp-verdict-${kind}` },
    h("h3", { class: "verdict-title" }, title),
    h("p", { class: "verdict-text" }, text),
    h("p", { class: "mp-facts hint" }, `${facts.name}: ${facts.size}, ${facts.shape}.`),
    facts.notes.map((note) => h("p", { class: "mp-facts hint" }, note)),
    facts.link && h("p", { class: "mp-facts hint" }, askView(facts.link)),
  );
}

/** What the bar is made of; each part opens its formula. */
export function partsList(parts) {
  return h(
    "div",
    { class: "mp-parts" },
    parts.map((part) =>
      h(
        "details",
        { class: "mp-part fold-row", "data-key": `part-${part.key}` },
        h(
          "summary",
          { class: "numeric" },
          swatch(part.key),
          h("span", { class: "fold-label" }, part.label),
          " ",
          h("span", null, part.text),
          " ",
          h("span", { class: "mp-part-share faint" }, part.share),
        ),
        whyView(part.why),
      ),
    ),
  );
}

/** Numbers that open their formula, inputs and source. */
export function numbersView(numbers) {
  return h(
    "div",
    { class: "numbers mp-numbers" },
    numbers.map((number) =>
      h(
        "details",
        { class: "mp-number fold-row", "data-key": `number-${number.key}` },
        h(
          "summary",
          null,
          h("span", { class: "fold-label soft" }, number.label),
          " ",
          h("span", { class: "stat" }, number.text),
          " ",
          h("span", { class: "hint" }, number.note),
        ),
        whyView(number.why),
      ),
    ),
  );
}

/** How a number is computed: its terms, what the symbols stand for, and the sources. */
function whyView({ terms, inputs, sources }) {
  return h(
    "div",
    { class: "mp-why" },
    h(
      "ul",
      { class: "mp-terms" },
      terms.map(([label, formula, size]) =>
        h(
          "li",
          { class: "entry" },
          h("span", null, label),
          h("span", { class: "entry-value" }, size),
          h("span", { class: "mp-formula soft" }, formula),
        ),
      ),
    ),
    inputs.length > 0 &&
      h(
        "dl",
        { class: "mp-inputs soft" },
        inputs.map(([symbol, meaning, value]) =>
          h("div", { class: "pair" }, h("dt", null, h("span", { class: "mp-symbol" }, symbol), meaning), h("dd", { class: "numeric" }, value)),
        ),
      ),
    sources.map((source) => h("p", { class: "mp-source faint" }, source)),
  );
}

/** Every single change that saves memory, with its button. */
export function adviceView({ advice }) {
  if (advice.length === 0) {
    return h("p", { class: "mp-sentence soft" }, "No single change of this recipe saves memory.");
  }
  return h(
    "div",
    { class: "mp-ways" },
    h(
      "p",
      { class: "mp-advice-head hint", "aria-hidden": "true" },
      ["One change at a time", "saves", "then needs", "a step takes"].map((text) => h("span", null, text)),
    ),
    h("ul", { class: "mp-advice" }, advice.slice(0, FIRST).map(adviceRow)),
    advice.length > FIRST &&
      h(
        "details",
        { class: "fold", "data-key": "advice-rest" },
        h("summary", null, "The other changes"),
        h("ul", { class: "mp-advice" }, advice.slice(FIRST).map(adviceRow)),
      ),
  );
}

function adviceRow({ key, label, note, saved, total, time, fits }) {
  return h(
    "li",
    { class: "mp-advice-row numeric" },
    h("span", { class: "mp-advice-what" }, label, h("span", { class: "mp-advice-note hint" }, note)),
    h("span", { class: "mp-advice-saved" }, hidden("saves "), saved),
    h(
      "span",
      { class: fits ? "mp-advice-total mp-fits" : "mp-advice-total soft" },
      hidden("then needs "),
      total,
      fits && h("span", { class: "mp-tag" }, "fits"),
    ),
    h("span", { class: "mp-advice-time quiet" }, hidden("a step takes "), time),
    applyButton(`advice-${key}`, "Apply", `Apply: ${label}`),
  );
}

/** Inverse answers: the edge of what fits. */
export function solvesView(solves) {
  return h(
    "dl",
    { class: "numbers" },
    solves.map(({ key, label, text, note, state }) =>
      h(
        "div",
        null,
        h("dt", { class: "soft" }, label),
        h("dd", { class: "mp-solved" }, h("span", { class: "stat" }, text), state && applyButton(`solve-${key}`, "Use", `Use ${text}`)),
        h("dd", { class: "hint" }, note),
      ),
    ),
  );
}

/** An option with its values, or what stands between options. */
const PARTS = /--?\S+(?: [^\s\\-]\S*)*|\s+|\S+/g;

/** The parts of a command: on a narrow screen a line breaks before an option, never within one that fits. */
export function commandParts(text) {
  return text.match(PARTS).map((word) => (word.startsWith("-") ? h("span", { class: "mp-option" }, word) : word));
}

/** What to type, with a button that copies it. */
export function commandsView({ run, where, differs, needs, job, plan }) {
  return h(
    "div",
    { class: "mp-commands" },
    commandView("run", commandParts(spellCommand(run)), "Copy the command"),
    where !== "" && h("p", { class: "quiet" }, where),
    differs.length > 0 &&
      h(
        "p",
        { class: "quiet" },
        `The runner trains one way, so this differs from the plan: ${differs.join("; ")}. `,
        needs && (needs.worse ? h("strong", null, needs.text) : needs.text),
      ),
    h(
      "details",
      { class: "fold", "data-key": "job" },
      h("summary", null, "This plan as JSON, for the command line"),
      h("p", { class: "quiet" }, "Save it as job.json, then type ", h("code", null, spellCommand(plan)), "."),
      commandView("job", job, "Copy the JSON"),
    ),
  );
}

/** What to type, with its button. */
export function commandView(name, text, label) {
  return h(
    "div",
    { class: "command" },
    h("pre", { class: "listing", tabindex: 0, "data-copy": name }, h("code", null, text)),
    h("button", { type: "button", class: "button button-small copy-button", "data-copies": name }, label),
  );
}

/** A button that changes the plan. */
export function applyButton(way, text, label) {
  return h("button", { type: "button", class: "button button-small mp-apply", "data-way": way, "aria-label": label }, text);
}

/** The state a button of these leads to. @param {string} way its `data-way` */
export function stateOf(way, { advice, solves, onePlan }) {
  const ways = [
    ...advice.map((each) => [`advice-${each.key}`, each]),
    ...solves.map((each) => [`solve-${each.key}`, each]),
    ["one-plan-0", onePlan?.first],
    ...(onePlan?.rows ?? []).map((each, index) => [`one-plan-${index + 1}`, each]),
  ];
  return new Map(ways).get(way).state;
}

function hidden(text) {
  return h("span", { class: "visually-hidden" }, text);
}
