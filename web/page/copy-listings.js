/** A Copy button on what a reader is to type or to paste: commands, and the entry that cites the article. */

import { copyText } from "../figures/file.js";
import { textButton } from "../figures/tools.js";

const COPIED = 'pre > code:is(.language-sh, .language-bibtex)';
const SAID_MS = 2000;

/** @param {HTMLElement} article holds the listings */
export function addCopyButtons(article) {
  for (const code of article.querySelectorAll(COPIED)) {
    const frame = Object.assign(document.createElement("div"), { className: "listing-frame" });
    const button = textButton("button button-small copy-button", "Copy", () => void copy(button, code));
    const said = Object.assign(document.createElement("span"), { className: "visually-hidden" });
    said.setAttribute("role", "status");
    code.parentElement.replaceWith(frame);
    frame.append(code.parentElement, button, said);
  }
}

async function copy(button, code) {
  const isCopied = await copyText(code.textContent.trimEnd());
  if (!isCopied) getSelection().selectAllChildren(code);
  const words = isCopied ? "Copied" : "Selected";
  button.textContent = words;
  button.nextElementSibling.textContent = isCopied ? words : "Selected: copy it with the keyboard";
  setTimeout(() => {
    button.textContent = "Copy";
    button.nextElementSibling.textContent = "";
  }, SAID_MS);
}
