/** Text buttons, and the row of quiet ones under a figure with the line that reports what they did. */

import { h } from "./vnode.js";

/**
 * Buttons and an empty status line for a `.table-tools` or `.plot-tools` row.
 * @param {{action: string, label: string, hint: string, expanded?: boolean}[]} buttons
 * @returns {import("./vnode.js").VNode[]} each button carries its action as `data-action`
 */
export function toolViews(buttons) {
  const views = buttons.map(({ action, label, hint, expanded }) =>
    h(
      "button",
      {
        type: "button",
        class: "figure-button",
        "data-action": action,
        title: hint,
        "aria-expanded": expanded,
      },
      label,
    ),
  );
  return [...views, h("span", { class: "figure-message", role: "status" })];
}

/**
 * Draws a figure anew without taking the focus away: what held it is found again by what it does.
 * @param {HTMLElement} figure
 * @param {() => void} draw replaces the children of `figure`
 */
export function keepFocus(figure, draw) {
  const held = figure.contains(document.activeElement) ? document.activeElement : null;
  const { column, action } = held?.dataset ?? {};
  const part = [...(held?.classList ?? [])].find((name) =>
    /^(?:table-scroll|plot-canvas)$/.test(name),
  );
  draw();
  if (!held || held.isConnected) return;
  const selector =
    column !== undefined
      ? `[data-column="${column}"]`
      : action
        ? `[data-action="${action}"]`
        : part && `.${part}`;
  if (selector) figure.querySelector(selector)?.focus({ preventScroll: true });
}

/**
 * Returns a button with a text label.
 * @param {string} name its class
 * @param {string} text
 * @param {() => void} onClick not called while the button is aria-disabled
 * @returns {HTMLButtonElement}
 */
export function textButton(name, text, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = name;
  button.textContent = text;
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") onClick();
  });
  return button;
}
