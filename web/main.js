/** The page's entry. The article is complete without it; this makes it live. */

import "./widgets/theme-toggle.js";
import "./widgets/python-status.js";
import "./widgets/runner-status.js";
import "./widgets/data-table.js";
import "./widgets/data-plot.js";
import "./widgets/live-cell.js";
import "./widgets/prose-slider.js";
import "./widgets/run-view.js";
import "./widgets/page-run.js";
import { queryOfAddress } from "./widgets/planner-address.js";
import { spellCommands } from "./run/program.js";
import { takeToken } from "./run/token.js";
import { addHoverNotes } from "./widgets/hover-notes.js";
import { nearTheWindow } from "./widgets/near-the-window.js";
import { followReading } from "./widgets/toc.js";

takeToken();
followReading(document.querySelector(".toc"));
addHoverNotes(document.querySelector(".article"));
spellCommands(document.querySelector(".article"));

// Both are complete as printed; what makes them live is fetched when the reader comes near.
const heavy = [
  ["memory-planner", "planner", () => import("./widgets/memory-planner.js")],
  ["method-decision", "decision", () => import("./widgets/method-decision.js")],
];
for (const [tag, name, load] of heavy) {
  const element = document.querySelector(tag);
  if (!element) continue;
  const wanted = queryOfAddress(name) === null ? nearTheWindow(element) : Promise.resolve();
  void wanted.then(load);
}

// So are the quiz's elements, complete and quiet until then.
const LATER = {
  "article-quiz": () => import("./widgets/article-quiz.js"),
  "compute-it": () => import("./widgets/compute-it.js"),
  "find-the-lie": () => import("./widgets/find-the-lie.js"),
};
for (const [name, load] of Object.entries(LATER)) {
  for (const element of document.querySelectorAll(name)) void nearTheWindow(element).then(load);
}
