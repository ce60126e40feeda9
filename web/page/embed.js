/** The fold with the HTML that shows a figure of this site in a page of another one, to copy. */

import { copyText } from "../figures/tools.js";
import { h } from "../figures/vnode.js";
import { SITE } from "./site.js";

const COPIED_MS = 2000;
/** Pixels of the frame: the whole figure in a column of 640. */
const HEIGHTS = { planner: 680, run: 1040 };

/**
 * @param {"planner" | "run"} of the figure
 * @param {string} [query] what it shows; empty for its default
 */
export function embedView(of, query = "") {
  return h(
    "details",
    { class: "fold embed-fold", "data-key": "embed" },
    h("summary", null, "Embed this figure"),
    h("pre", { class: "listing", tabindex: 0 }, h("code", { "data-embed": of }, snippet(of, query))),
    h("button", { type: "button", class: "button button-small", "data-copies-embed": true }, "Copy"),
  );
}

/** The address is relative, as the page is baked, until the fold is opened. */
function snippet(of, query) {
  const src = `embed/${of}/${query && `?${query}`}`.replaceAll("&", "&amp;").replaceAll('"', "%22");
  const style = `width: 100%; height: ${HEIGHTS[of]}px; border: 0`;
  return `<iframe src="${src}" title="A figure of Unfrozen" loading="lazy" style="${style}"></iframe>`;
}

function complete({ target }) {
  const code = target.querySelector?.("[data-embed]");
  const site = document.documentElement.dataset.site || SITE.href;
  if (code) code.textContent = code.textContent.replace('src="embed/', `src="${site}embed/`);
}

/** Copies what a pressed button stands below. */
async function copy({ target }) {
  const button = target.closest("[data-copies-embed]");
  const code = button?.parentElement.querySelector("[data-embed]");
  if (!code) return;
  if (!(await copyText(code.textContent))) getSelection().selectAllChildren(code);
  button.textContent = getSelection().containsNode(code, true) ? "Selected: copy it with the keyboard" : "Copied";
  setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
}

globalThis.addEventListener?.("click", copy);
globalThis.addEventListener?.("toggle", complete, true);
