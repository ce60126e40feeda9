/**
 * The view of the decision: printed when the site is built, and upgraded in place. Every control carries its key of the state
 * as `data-key`; its error stands below it.
 */

import { spellCommand } from "../run/command-line.js";
import { commandParts, commandView } from "../planner/answers.js";
import { bakedStatus } from "../planner/status-line.js";
import { h } from "../figures/vnode.js";
import { fragment } from "../page/address.js";
import { askedField, describedBy, errorSlot, field, select, steppedInputs, syncErrors, syncSlider } from "../planner/controls.js";

/**
 * @param {object} view from `unfrozen.decision`
 * @param {{live?: boolean, figure?: boolean}} [opts] live: controls and buttons can be used; figure: the order and its
 *   numbers alone, which lead to the page of the whole
 */
export function methodDecisionView(view, { live = false, figure = false } = {}) {
  return h(
    "div",
    { class: "md" },
    controlsView(view, { live }),
    bakedStatus(),
    h("div", { class: "widget-result" }, resultView(view, { live, figure })),
  );
}

/** The answer, and the four methods in their order. */
export function resultView({ title, text, rule, methods, flips, query }, { live, figure }) {
  return [
    h("h3", { class: "verdict-title" }, title),
    h("p", { class: "verdict-text" }, text),
    h(
      "ol",
      { class: "md-methods" },
      methods.map((method, index) => methodView(method, flips?.[method.key] ?? [], { isFirst: index === 0, live, figure })),
    ),
    figure
      ? h("p", null, h("a", { href: `planner/${fragment(query, "decision")}` }, "Why this order, what would change it, and what to type"))
      : h("p", { class: "md-rule faint" }, rule),
  ];
}

function methodView({ key, name, does_it: doesIt, numbers, checks, recipe, command, planner }, flips, { isFirst, live, figure }) {
  return h(
    "li",
    { class: doesIt ? "stack md-method" : "stack md-method md-cannot" },
    h("h4", { class: "md-name" }, name),
    h(
      "dl",
      { class: "numbers md-numbers" },
      numbers.map(({ label, text, note }) =>
        h("div", null, h("dt", { class: "quiet" }, label), h("dd", { class: "numeric" }, text, " ", h("span", { class: "md-note quiet" }, note))),
      ),
    ),
    !figure && h("ul", { class: "md-checks" }, checks.map(checkView)),
    !figure && !isFirst && flipsView(key, flips, live),
    !figure && howView({ key, recipe, command, planner }),
  );
}

function howView({ key, recipe, command, planner }) {
  return h(
    "details",
    { class: "fold", "data-key": `md-${key}` },
    h("summary", null, command ? "How, and what to type" : "How"),
    h("p", { class: "md-how soft" }, recipe),
    command && commandView(key, key === "full" ? commandParts(spellCommand(command.text)) : command.text, "Copy"),
    command?.note && h("p", { class: "quiet" }, command.note),
    planner !== null && h("p", null, h("a", { class: "md-planner", href: "#planner", "data-query": planner }, "Open in the planner")),
  );
}

function checkView({ good, label, text }) {
  return h(
    "li",
    { class: good ? "md-good" : "md-bad" },
    h("span", { class: "md-mark", "aria-hidden": "true" }, good ? "✓" : "✗"),
    h("span", null, h("b", null, `${label}: `), text),
  );
}

function flipsView(key, flips, live) {
  if (flips.length === 0) return h("p", { class: "chips chips-small md-flips faint" }, "No single change puts it first.");
  return h(
    "p",
    { class: "chips chips-small md-flips faint" },
    h("span", null, "Would be first "),
    flips.map(({ text }, index) =>
      live
        ? h("button", { type: "button", class: "chip", "data-flip": `${key} ${index}` }, text)
        : h("span", { class: "chip" }, text),
    ),
  );
}

/** All controls. @param {object} view from `unfrozen.decision` */
export function controlsView({ selects, counts, radios, price }, { live }) {
  return h(
    "fieldset",
    { class: "md-controls widget-controls stack", disabled: !live },
    h("legend", { class: "visually-hidden" }, "The task"),
    selects.map((each) => selectField(each, live)),
    counts.map(countField),
    radios.map(radioField),
    askedField({ ...price, inputmode: "decimal" }, "md"),
  );
}

function selectField({ key, label, value, options }, live) {
  const shown = live ? options : options.filter((option) => option.value === value);
  return h("div", { class: "field" }, h("label", { for: `md-${key}` }, label), select(key, value, shown, "md"), errorSlot(key, "md"));
}

function countField({ key, label, note, value, digits, steps, texts }) {
  return h(
    "div",
    { class: "field field-slider md-count" },
    h("label", { for: `md-${key}` }, label, " ", h("span", { class: "md-note quiet" }, note)),
    steppedInputs(`md-${key}`, { key, label, value, texts, steps, at: digits }, describedBy(key, "md")),
    errorSlot(key, "md"),
  );
}

function radioField({ key, label, value, options }) {
  return h(
    "fieldset",
    { class: "md-radios" },
    h("legend", null, label),
    options.map((option) =>
      h(
        "label",
        null,
        h("input", { type: "radio", name: `md-${key}`, value: option.value, "data-key": key, checked: option.value === value }),
        h("span", null, option.label),
      ),
    ),
    errorSlot(key, "md"),
  );
}

/** Puts every control where a view has it, but the one the reader types in. */
export function syncControls(root, { selects, counts, radios, price, problem }, { skip = null } = {}) {
  const set = (element, value) => {
    if (element !== skip && element.value !== value) element.value = value;
  };
  for (const { key, value } of selects) set(field(root, key), value);
  for (const count of counts) syncSlider(root, count, set);
  for (const { key, value } of radios) {
    for (const radio of root.querySelectorAll(`[data-key="${key}"]`)) radio.checked = radio.value === value;
  }
  set(field(root, "price"), price.value);
  field(root, "price").placeholder = price.placeholder;
  syncErrors(root, problem ?? null);
}

/** The change of the state that an edited element asks for; null for none yet. */
export function editOf({ dataset, type, checked, value }, counts) {
  const { key, slides } = dataset;
  if (slides) return { [slides]: counts.find((count) => count.key === slides).steps[value] };
  if (!key || (type === "radio" && !checked)) return null;
  const text = value.trim();
  return text === "" && key !== "price" ? null : { [key]: text }; // a new number is coming
}
