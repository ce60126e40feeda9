/** The quiet row of buttons under a figure, and the line that says what they did. */

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
