/** What elements share: their parts, buttons, the box for nothing to show, the clipboard, and files to save. */

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
  return [...views, h("span", { class: "figure-message quiet", role: "status" })];
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
 * Returns an element.
 * @param {string} tag
 * @param {object} [properties] and attributes by their names
 * @param {...(Node | string | null)} children those that are empty are left out
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** Returns a box with its label. @param {(isOn: boolean) => void} changed */
export function checkbox(text, checked, changed) {
  const box = make("input", { type: "checkbox", checked });
  box.addEventListener("change", () => changed(box.checked));
  return make("label", {}, box, text);
}

/** Writes a text where it is another one: a screen reader repeats none. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Returns a button with a text label.
 * @param {string} name its class
 * @param {string | Node} text
 * @param {() => void} onClick not called while the button is aria-disabled
 * @returns {HTMLButtonElement}
 */
export function textButton(name, text, onClick) {
  const button = make("button", { type: "button", className: name }, text);
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") onClick();
  });
  return button;
}

/**
 * Puts text on the clipboard.
 * @param {string} text
 * @returns {Promise<boolean>} false when the browser refuses (no permission, plain http)
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Offers a file for saving.
 * @param {string} name
 * @param {Blob} blob
 */
export function saveFile(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * What to call a figure that has no title: the name it goes by in the article, or its cell's.
 * @param {Element} element
 * @returns {string} empty where it stands alone
 */
export function placeName(element) {
  const figure = element.closest("figure[id]")?.id.replace(/^fig-/, "");
  return figure || element.closest("live-cell[id]")?.id || "";
}

/**
 * A file name from a title: letters, digits and hyphens only.
 * @param {string} title
 * @param {string} fallback
 * @param {string} extension without the dot
 */
export function fileName(title, fallback, extension) {
  const stem = title
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return `${stem.slice(0, 60) || fallback}.${extension}`;
}

/**
 * The quiet box shown instead of a table or a plot that cannot be drawn.
 * @param {"error" | "empty"} kind
 * @param {string} title what happened
 * @param {string} text why, and what to do
 */
export function stateView(kind, title, text) {
  return h(
    "div",
    { class: `figure-state figure-state-${kind}`, role: kind === "error" ? "alert" : null },
    h("p", { class: "figure-state-title" }, title),
    h("p", { class: "figure-state-text" }, text),
  );
}
