/** What models answered to a prompt: the one before training beside the one now, and where they part. */

import { h } from "../../figures/vnode.js";

/** Draws answers, the newest first. @param {{prompt: string, step?: number, before: object | null, after: object}[]} answers */
export function answersView(answers) {
  if (answers.length === 0) return null;
  return h(
    "section",
    { class: "run-section" },
    h("h3", { class: "run-chart-title" }, "Answers"),
    h("ol", { class: "run-answers" }, [...answers].reverse().map(answerView)),
    h("p", { class: "run-chart-note quiet" }, "Marked: what follows the first token in which they differ."),
  );
}

function answerView({ prompt, step, before, after }) {
  const same = commonPieces(before, after);
  const side = (name, answer) => answer && h("div", null, h("dt", null, name), h("dd", null, writtenView(answer, same)));
  const now = step === undefined ? "After training" : `After step ${step}`;
  return h("li", null, h("p", { class: "run-answer-prompt" }, prompt), h("dl", null, side("Before training", before), side(now, after)));
}

/** How many pieces two answers share at their beginning. */
function commonPieces(before, after) {
  const [one, two] = [before?.pieces ?? [], after.pieces ?? []];
  let same = 0;
  while (same < one.length && one[same] === two[same]) same += 1;
  return same;
}

function writtenView({ text, ended, pieces = [] }, same) {
  const start = pieces.slice(0, same).join("");
  const rest = text.slice(start.length);
  if (ended && !text.trim()) return h("span", { class: "faint" }, "It ends at once.");
  return [start, rest && h("mark", null, rest), !ended && h("span", { class: "faint" }, " … stopped")];
}
