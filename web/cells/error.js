/** A cell's error: the traceback as text, with each line of a cell a button that leads there. */

import { textButton } from "../figures/tools.js";

const FRAME = /^(\s*File "<([^">]+)>", )(line (\d+))(.*)$/;

/**
 * @param {{type: string, traceback: string, line: number | null}} error
 * @returns {HTMLElement} fires a bubbling "cell-jump" event with detail {cell, line}
 */
export function errorView(error) {
  const box = document.createElement("div");
  box.className = "cell-error";
  const pre = document.createElement("pre");
  pre.className = "cell-traceback";
  pre.tabIndex = 0;
  const lines = error.traceback.replace(/\n$/, "").split("\n");
  lines.forEach((line, index) => {
    pre.append(...lineView(line), index < lines.length - 1 ? "\n" : "");
  });
  box.append(pre);
  return box;
}

function lineView(line) {
  const frame = FRAME.exec(line);
  if (frame) {
    const [, before, cell, words, number, after] = frame;
    return [before, jumpButton(words, cell, Number(number)), after];
  }
  if (/^\S/.test(line) && !line.startsWith("Traceback")) {
    const strong = document.createElement("strong");
    strong.textContent = line;
    return [strong];
  }
  return [line];
}

function jumpButton(words, cell, line) {
  const button = textButton("cell-jump", words, () => {
    button.dispatchEvent(new CustomEvent("cell-jump", { bubbles: true, detail: { cell, line } }));
  });
  button.title = "Go to this line";
  return button;
}
