/**
 * Keeps the planner's controls in step with a view, without drawing them anew: a slider that is
 * being dragged, or a field that is being typed in, must stay the same element.
 */

import { nearestStop } from "./controls.js";
import { SENT } from "./hub.js";

/**
 * @param {HTMLElement} root
 * @param {object} view from `unfrozen.planner`
 * @param {{skip?: Element | null}} [opts] skip: the field the reader is in; it keeps its text
 */
export function syncControls(root, view, { skip = null } = {}) {
  const set = (element, value) => {
    if (element && element !== skip && element.value !== value) element.value = value;
  };
  const model = field(root, "model");
  set(model, view.config ? "" : view.model);
  model.placeholder = view.config ? "your config.json" : "search, or owner/name of the hub";
  set(field(root, "gpu"), view.gpu);
  set(field(root, "config"), view.config);
  for (const slider of view.sliders) syncSlider(root, slider, set);
  for (const { knobs } of view.groups) for (const knob of knobs) syncKnob(root, knob, set, !view.problem);
  for (const { key, chosen } of view.presets) press(root.querySelector(`[data-preset="${key}"]`), chosen);
  for (const name of view.units) press(root.querySelector(`[data-unit="${name}"]`), name === view.unit);
  syncErrors(root, view.problem ?? null);
}

/** The control of a key. */
export function field(root, key) {
  return root.querySelector(`[data-key="${CSS.escape(key)}"]:not(details)`);
}

function syncSlider(root, { key, value, steps, texts }, set) {
  const range = root.querySelector(`[data-slides="${key}"]`);
  const index = nearestStop(steps, value);
  set(field(root, key), value);
  set(range, String(index));
  const isStop = steps[index] === value;
  range.setAttribute("aria-valuetext", isStop ? texts[index] : value);
}

/** `tells`: the view says what a setting left alone comes out as; one with a problem does not. */
function syncKnob(root, { key, kind, value, options, placeholder, off }, set, tells) {
  const element = field(root, key);
  element.closest("[data-knob]").hidden = Boolean(off);
  if (kind === "flag") {
    element.checked = value === "true";
    return;
  }
  if (kind === "choice") {
    options.forEach(({ label }, index) => {
      if (tells && element.options[index].textContent !== label) element.options[index].textContent = label;
    });
  } else if (tells) element.placeholder = placeholder;
  set(element, value);
}

function press(button, isPressed) {
  button.setAttribute("aria-pressed", String(isPressed));
}

/** Puts the problem below its control, and opens the fold it lies in. */
function syncErrors(root, problem) {
  for (const slot of root.querySelectorAll("[data-error]")) {
    const isHere = slot.dataset.error === problem?.control;
    const control = field(root, slot.dataset.error);
    slot.hidden = !isHere;
    slot.replaceChildren(...(isHere ? errorNodes(problem) : []));
    if (isHere) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
    if (isHere) reveal(slot);
  }
}

function errorNodes({ text, link }) {
  if (!link) return [text];
  const anchor = document.createElement("a");
  Object.assign(anchor, { href: link, target: "_blank", rel: "noopener noreferrer" });
  anchor.textContent = "Open its config.json on the hub";
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: "Ask huggingface.co for its config.json" });
  button.dataset.asks = link;
  return [`${text} `, button, ` (${SENT}). `, anchor, ", then drop the file here or paste it below."];
}

function reveal(slot) {
  const fold = slot.closest("details");
  if (fold) fold.open = true;
  const knob = slot.closest("[data-knob]");
  if (knob) knob.hidden = false;
}

/**
 * What an edited element says, as a change of the state; null when it says nothing yet.
 * @returns {Record<string, string> | null}
 */
export function editOf(target, sliders) {
  const { key, slides } = target.dataset;
  if (slides) return { [slides]: sliders.find((slider) => slider.key === slides).steps[target.value] };
  if (!key || key === "model") return null;
  if (target.type === "checkbox") return { [key]: String(target.checked) };
  return { [key]: target.value.trim() }; // an emptied field falls back to its default
}
