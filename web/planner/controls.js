/**
 * The planner's controls: drawn once, then kept in step with a view. A slider that is being dragged,
 * or a field that is being typed in, must stay the same element.
 *
 * Every control carries its key of the state as `data-key`; its error stands below it.
 */

import { h, toDom } from "../figures/vnode.js";
import { askView } from "./hub-config.js";

/**
 * All controls; a figure has those of the first lines. What only a live control can show (lists, closed
 * folds) is left out until then.
 * @param {object} view from `unfrozen.planner`
 */
export function controlsView(view, { live, figure }) {
  return h(
    "fieldset",
    { class: "mp-controls widget-controls stack", disabled: !live },
    h("legend", { class: "visually-hidden" }, "What to plan"),
    h("div", { class: "mp-line stack" }, modelField(view, live), gpuField(view, live)),
    h("p", { class: "mp-read quiet", role: "status", "data-read": "", hidden: true }),
    presetsView(view.presets),
    h("div", { class: "mp-sliders stack" }, view.sliders.map(sliderField)),
    !figure && h("div", { class: "mp-sliders stack" }, view.asked.map((each) => askedField(each))),
    !figure && h("div", { class: "mp-folds row" }, settingsView(live ? view.groups : [], view.also_set), configView(view.config), openView(), unitField(view)),
  );
}

function modelField({ model, config, models }, live) {
  return h(
    "div",
    { class: "field mp-field-model" },
    h("label", { for: "mp-model" }, "Model"),
    h("input", {
      id: "mp-model",
      class: "field-input",
      type: "text",
      role: "combobox",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "data-key": "model",
      value: model,
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
          { id: `mp-model-${index}`, class: "pair", role: "option", "aria-selected": String(value === model), "data-value": value },
          h("span", null, value),
          " ",
          h("span", { class: "mp-option-size soft numeric" }, size),
        ),
      ),
    ),
    h("p", { class: "field-note", role: "status" }),
    errorSlot("model"),
  );
}

function gpuField({ gpu, gpu_options: options }, live) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: "mp-gpu" }, "GPU"),
    select("gpu", gpu, live ? options : options.filter(({ value }) => value === gpu)),
    errorSlot("gpu"),
  );
}

/** A trainer's file or command in place of settings by hand. */
function openView() {
  const title = "Axolotl, LLaMA-Factory, TRL, torchtitan, GGUF, a command …: open, drop or paste it. It stays in this page.";
  return h(
    "span",
    { class: "mp-open" },
    h("button", { type: "button", class: "button button-small", "data-opens": "job", title }, "Open a trainer’s file…"),
    h("input", { type: "file", multiple: true, hidden: true, "data-file": "job", "aria-label": "A trainer’s file" }),
  );
}

function presetsView(presets) {
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": "Recipe" },
    presets.map(({ key, label, note, chosen }) =>
      h(
        "button",
        { type: "button", class: "chip", "data-preset": key, "aria-pressed": String(chosen), title: note },
        label,
      ),
    ),
  );
}

/** A field for a text: a price, or what the one plan is for: the reader's data, which a file can tell, and budget. */
export function askedField({ key, label, help, value, placeholder, inputmode, reads }, name = "mp") {
  const attrs = { id: `${name}-${key}`, class: "field-input", type: "text", inputmode, autocomplete: "off", "data-key": key };
  return h(
    "div",
    { class: "field", "data-asked": key },
    h("label", { for: `${name}-${key}` }, label, help && [" ", h("span", { class: "field-unit" }, help)]),
    h("input", { ...attrs, value, placeholder: placeholder || (reads ? "10,000 × 3 × 512" : ""), ...describedBy(key, name) }),
    reads && h("input", { type: "file", accept: reads, "data-file": key, "aria-label": `${label}: a file, which stays on this page` }),
    errorSlot(key, name),
  );
}

function sliderField({ key, label, unit, value, steps, texts }) {
  return h(
    "div",
    { class: "field field-slider" },
    h("label", { for: `mp-${key}` }, label, unit && [" ", h("span", { class: "field-unit" }, unit)]),
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
      class: "range",
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
      class: "field-input field-number",
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

function settingsView(groups, alsoSet) {
  return h(
    "details",
    { class: "fold", "data-fold": "settings" },
    h("summary", null, "Every setting"),
    h(
      "div",
      { class: "mp-groups" },
      groups.map(({ label, settings }) =>
        h(
          "fieldset",
          { class: "mp-group", "data-group": label, hidden: settings.every(({ hidden }) => hidden) },
          h("legend", null, label),
          settings.map(settingField),
        ),
      ),
    ),
    h("p", { class: "quiet", "data-also-set": "", hidden: alsoSet === "" }, alsoSet),
  );
}

function settingField(setting) {
  const { key, label, help, kind, value, hidden } = setting;
  const name = h("span", { class: "mp-setting-name" }, withCode(label), " ", h("span", { class: "mp-setting-help hint" }, withCode(help)));
  const field = { class: `field-slider mp-setting mp-setting-${kind}`, "data-setting": key, hidden: Boolean(hidden) };
  return h("div", field, h("label", { for: `mp-${key}` }, name), settingInput(setting, kind, value), errorSlot(key));
}

/** A text whose parts in backticks are code. */
function withCode(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", null, part) : part));
}

function settingInput({ key, options, placeholder, numeric }, kind, value) {
  const attrs = { id: `mp-${key}`, "data-key": key, ...describedBy(key) };
  if (kind === "choice") return select(key, value, options);
  if (kind === "flag") return h("input", { ...attrs, type: "checkbox", checked: value === "true" });
  const typing = { type: "text", inputmode: numeric ? "decimal" : null, autocomplete: "off" };
  return h("input", { ...attrs, class: "field-input", ...typing, value, placeholder });
}

/** A choice; `name` begins the ids of its widget. */
export function select(key, value, options, name = "mp") {
  return h(
    "select",
    { id: `${name}-${key}`, class: "field-input", "data-key": key, ...describedBy(key, name) },
    options.map((option) => h("option", { value: option.value, selected: option.value === value }, option.label)),
  );
}

function configView(config) {
  return h(
    "details",
    { class: "fold", "data-fold": "config", open: Boolean(config) },
    h("summary", null, "Paste a config.json"),
    h(
      "div",
      { class: "mp-config" },
      h(
        "label",
        { for: "mp-config", class: "soft" },
        "The config.json of any supported model. Paste it, or drop the file anywhere on the planner; it stays on this page.",
      ),
      h("textarea", { id: "mp-config", class: "field-input", "data-key": "config", rows: 7, spellcheck: "false", ...describedBy("config") }, config),
      errorSlot("config"),
    ),
  );
}

function unitField({ unit, units }) {
  return h(
    "div",
    { class: "chips chips-small mp-units", role: "group", "aria-label": "Unit of sizes" },
    units.map((name) =>
      h("button", { type: "button", class: "chip", "data-unit": name, "aria-pressed": String(name === unit) }, name),
    ),
  );
}

export function describedBy(key, name = "mp") {
  return { "aria-describedby": `${name}-error-${key}` };
}

export function errorSlot(key, name = "mp") {
  return h("p", { id: `${name}-error-${key}`, class: "field-error", "data-error": key, hidden: true });
}

/**
 * Puts every control where a view has it.
 * @param {HTMLElement} root
 * @param {object} view from `unfrozen.planner`
 * @param {{skip?: Element | null}} [opts] skip: the field the reader is in; it keeps its text
 */
export function syncControls(root, view, { skip = null } = {}) {
  const set = (element, value) => {
    if (element && element !== skip && element.value !== value) element.value = value;
  };
  const model = field(root, "model");
  set(model, view.model);
  model.placeholder = view.config ? "your config.json" : "search, or owner/name of the hub";
  set(field(root, "gpu"), view.gpu);
  for (const { key, value } of view.asked) set(field(root, key), value);
  for (const slider of view.sliders) syncSlider(root, slider, set);
  for (const { key, chosen } of view.presets) press(root.querySelector(`[data-preset="${key}"]`), chosen);
  if (root.querySelector(".mp-folds")) syncFolds(root, view, set);
  syncErrors(root, view.problem ?? null);
}

/** What a figure does not have. */
function syncFolds(root, view, set) {
  set(field(root, "config"), view.config);
  for (const group of view.groups) syncGroup(root, group, set, !view.problem);
  const alsoSet = root.querySelector("[data-also-set]");
  alsoSet.textContent = view.also_set;
  alsoSet.hidden = view.also_set === "";
  for (const name of view.units) press(root.querySelector(`[data-unit="${name}"]`), name === view.unit);
}

/** The control of a key. */
export function field(root, key) {
  return root.querySelector(`[data-key="${CSS.escape(key)}"]:not(details)`);
}

/** Puts a slider and its field where they are; `digits`: the value as a number, where it is written otherwise. */
export function syncSlider(root, { key, value, digits = value, steps, texts }, set) {
  const range = root.querySelector(`[data-slides="${key}"]`);
  const index = nearestStop(steps, digits);
  set(field(root, key), value);
  set(range, String(index));
  range.setAttribute("aria-valuetext", steps[index] === digits ? texts[index] : value);
}

function syncGroup(root, { label, settings }, set, hasDefaults) {
  for (const setting of settings) syncSetting(root, setting, set, hasDefaults);
  root.querySelector(`[data-group="${CSS.escape(label)}"]`).hidden = settings.every(({ hidden }) => hidden);
}

/** `hasDefaults`: the view names the value of a setting left alone; one with a problem does not. */
function syncSetting(root, { key, kind, value, options, placeholder, hidden }, set, hasDefaults) {
  const element = field(root, key);
  element.closest("[data-setting]").hidden = Boolean(hidden);
  if (kind === "flag") {
    element.checked = value === "true";
    return;
  }
  if (kind === "choice") {
    options.forEach(({ label }, index) => {
      if (hasDefaults && element.options[index].textContent !== label) element.options[index].textContent = label;
    });
  } else if (hasDefaults) element.placeholder = placeholder;
  set(element, value);
}

function press(button, isPressed) {
  button.setAttribute("aria-pressed", String(isPressed));
}

/** Puts the problem below its control, and opens the fold it lies in. */
export function syncErrors(root, problem) {
  for (const slot of root.querySelectorAll("[data-error]")) {
    const isHere = slot.dataset.error === (problem?.control ?? problem?.key);
    const control = field(root, slot.dataset.error);
    slot.hidden = !isHere;
    const asked = isHere && problem.link ? askView(problem.link) : [];
    slot.replaceChildren(...(isHere ? [`${problem.text} `, ...asked.map((node) => toDom(node))] : []));
    if (isHere) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
    if (isHere) reveal(slot);
  }
}

function reveal(slot) {
  const fold = slot.closest("details");
  if (fold) fold.open = true;
  for (const hidden of [slot.closest("[data-setting]"), slot.closest("[data-group]")]) {
    if (hidden) hidden.hidden = false;
  }
}

/**
 * The change of the state that an edited element asks for; null for none.
 * @returns {Record<string, string> | null}
 */
export function editOf(target, sliders) {
  const { key, slides } = target.dataset;
  if (slides) return { [slides]: sliders.find((slider) => slider.key === slides).steps[target.value] };
  if (!key || key === "model") return null;
  if (target.type === "checkbox") return { [key]: String(target.checked) };
  if (key === "config") return { config: target.value.trim(), model: "" };
  return { [key]: target.value.trim() }; // an emptied field falls back to its default
}
