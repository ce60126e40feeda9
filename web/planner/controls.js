/**
 * The planner's controls as they stand in a view. Drawn once; `form.js` keeps them in step.
 *
 * Every control carries its key of the state as `data-key`; its error stands below it.
 */

import { h } from "../figures/vnode.js";

/**
 * All controls. What only a live control can show (lists, closed folds) is left out until then.
 * @param {object} view from `unfrozen.planner`
 */
export function controlsView(view, { live }) {
  return h(
    "fieldset",
    { class: "mp-controls", disabled: !live },
    h("legend", { class: "visually-hidden" }, "What to plan"),
    h("div", { class: "mp-line" }, modelField(view, live), cardField(view, live)),
    presetsView(view.presets),
    h("div", { class: "mp-sliders" }, view.sliders.map(sliderField)),
    h("div", { class: "mp-folds" }, settingsView(live ? view.groups : []), configView(view.config), unitField(view)),
  );
}

function modelField({ model, config, models }, live) {
  return h(
    "div",
    { class: "mp-field mp-field-model" },
    h("label", { for: "mp-model" }, "Model"),
    h("input", {
      id: "mp-model",
      class: "mp-input",
      type: "text",
      role: "combobox",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "data-key": "model",
      value: config ? "" : model,
      placeholder: config ? "your config.json" : "search, or owner/name of the hub",
      "aria-expanded": "false",
      "aria-controls": "mp-model-list",
      "aria-autocomplete": "list",
      ...describedBy("model"),
    }),
    h(
      "ul",
      { id: "mp-model-list", class: "mp-options", role: "listbox", "aria-label": "Models", hidden: true },
      (live ? models : []).map(({ value, size }, index) =>
        h(
          "li",
          { id: `mp-model-${index}`, role: "option", "aria-selected": String(value === model), "data-value": value },
          h("span", null, value),
          h("span", { class: "mp-option-size" }, size),
        ),
      ),
    ),
    h("p", { class: "mp-none", role: "status" }),
    errorSlot("model"),
  );
}

function cardField({ gpu, cards }, live) {
  return h(
    "div",
    { class: "mp-field" },
    h("label", { for: "mp-gpu" }, "Card"),
    select("gpu", gpu, live ? cards : cards.filter(({ value }) => value === gpu)),
    errorSlot("gpu"),
  );
}

function presetsView(presets) {
  return h(
    "div",
    { class: "mp-presets", role: "group", "aria-label": "Recipe" },
    presets.map(({ key, label, note, chosen }) =>
      h(
        "button",
        { type: "button", class: "mp-preset", "data-preset": key, "aria-pressed": String(chosen), title: note },
        label,
      ),
    ),
  );
}

function sliderField({ key, label, unit, value, steps, texts }) {
  return h(
    "div",
    { class: "mp-field mp-slider" },
    h("label", { for: `mp-${key}` }, label, unit && h("span", { class: "mp-unit" }, unit)),
    steppedInputs(`mp-${key}`, { key, label, value, texts, steps, at: value }, describedBy(key)),
    errorSlot(key),
  );
}

/**
 * A range over steps and the field for any number between them. `at`: the value that the range is
 * set by, where the field holds it as it was written.
 */
export function steppedInputs(id, { key, label, value, texts, steps, at }, described) {
  const index = nearestStop(steps, at);
  return [
    h("input", {
      class: "mp-range",
      type: "range",
      min: 0,
      max: steps.length - 1,
      step: 1,
      value: index,
      "data-slides": key,
      "aria-label": `${label}, in steps`,
      "aria-valuetext": texts[index],
    }),
    h("input", {
      id,
      class: "mp-input mp-input-number",
      type: "text",
      inputmode: "numeric",
      autocomplete: "off",
      "data-key": key,
      value,
      ...described,
    }),
  ];
}

/** The stop of a slider nearest to a value, by their ratio. */
export function nearestStop(steps, value) {
  const wanted = Math.log(Math.max(1, Number(value) || 1));
  const distance = (step) => Math.abs(Math.log(Number(step)) - wanted);
  return steps.reduce((best, step, index) => (distance(step) < distance(steps[best]) ? index : best), 0);
}

function settingsView(groups) {
  return h(
    "details",
    { class: "mp-fold", "data-fold": "settings" },
    h("summary", null, "Every setting"),
    h(
      "div",
      { class: "mp-groups" },
      groups.map(({ label, knobs }) =>
        h(
          "fieldset",
          { class: "mp-group" },
          h("legend", null, label),
          knobs.map(knobField),
        ),
      ),
    ),
  );
}

function knobField(knob) {
  const { key, label, help, kind, value, off } = knob;
  const name = h("span", { class: "mp-knob-name" }, label, h("span", { class: "mp-knob-help" }, help));
  const field = { class: `mp-knob mp-knob-${kind}`, "data-knob": key, hidden: Boolean(off) };
  return h("div", field, h("label", { for: `mp-${key}` }, name), knobInput(knob, kind, value), errorSlot(key));
}

function knobInput({ key, options, placeholder, numeric }, kind, value) {
  const attrs = { id: `mp-${key}`, "data-key": key, ...describedBy(key) };
  if (kind === "choice") return select(key, value, options);
  if (kind === "flag") return h("input", { ...attrs, type: "checkbox", checked: value === "true" });
  const typing = { type: "text", inputmode: numeric ? "decimal" : null, autocomplete: "off" };
  return h("input", { ...attrs, class: "mp-input", ...typing, value, placeholder });
}

function select(key, value, options) {
  return h(
    "select",
    { id: `mp-${key}`, class: "mp-input", "data-key": key, ...describedBy(key) },
    options.map((option) => h("option", { value: option.value, selected: option.value === value }, option.label)),
  );
}

function configView(config) {
  return h(
    "details",
    { class: "mp-fold", "data-fold": "config", open: Boolean(config) },
    h("summary", null, "Paste a config.json"),
    h(
      "div",
      { class: "mp-config" },
      h(
        "label",
        { for: "mp-config" },
        "The config.json of any supported model. Paste it, or drop the file anywhere on the planner; it stays on this page.",
      ),
      h("textarea", { id: "mp-config", class: "mp-input", "data-key": "config", rows: 7, spellcheck: "false", ...describedBy("config") }, config),
      errorSlot("config"),
    ),
  );
}

function unitField({ unit, units }) {
  return h(
    "div",
    { class: "mp-units", role: "group", "aria-label": "Unit of sizes" },
    units.map((name) =>
      h("button", { type: "button", class: "mp-preset", "data-unit": name, "aria-pressed": String(name === unit) }, name),
    ),
  );
}

function describedBy(key) {
  return { "aria-describedby": `mp-error-${key}` };
}

function errorSlot(key) {
  return h("p", { id: `mp-error-${key}`, class: "mp-error", "data-error": key, hidden: true });
}
