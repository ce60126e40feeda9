/** The page's entry. The article is complete without it; this makes it live. */

import "./page/theme-toggle.js";
import "./cells/python-status.js";
import "./run/view/runner-status.js";
import "./tables/data-table.js";
import "./plots/data-plot.js";
import "./cells/live-cell.js";
import "./page/prose-slider.js";
import "./run/view/run-view.js";
import "./lab/page-run.js";
import { goToPlace, isAddressed, keepStates } from "./page/address.js";
import { spellCommands } from "./run/command-line.js";
import { takeToken } from "./run/token.js";
import { bringContents, followReading } from "./page/contents.js";
import { addCopyButtons } from "./page/copy-listings.js";
import { addHoverNotes } from "./page/hover-notes.js";
import { nearTheWindow } from "./page/near-the-window.js";

takeToken();
keepStates();
goToPlace();
followReading(document.querySelector(".toc"));
bringContents(document.querySelector(".top-contents"), document.querySelector(".toc"));
addHoverNotes(document.querySelector(".article"));
spellCommands(document.querySelector(".article"));
addCopyButtons(document.querySelector(".article"));

// Both are complete as printed; what makes them live is fetched when the reader comes near.
const heavy = [
  ["memory-planner", "planner", () => import("./planner/memory-planner.js")],
  ["method-decision", "decision", () => import("./decision/method-decision.js")],
];
for (const [tag, name, load] of heavy) {
  const element = document.querySelector(tag);
  if (!element) continue;
  const wanted = isAddressed(name) ? Promise.resolve() : nearTheWindow(element);
  void wanted.then(load);
}

// So are the quiz's elements, complete and quiet until then.
const LATER = {
  "article-quiz": () => import("./quiz/article-quiz.js"),
  "compute-it": () => import("./quiz/compute-it.js"),
  "find-the-lie": () => import("./quiz/find-the-lie.js"),
};
for (const [name, load] of Object.entries(LATER)) {
  for (const element of document.querySelectorAll(name)) void nearTheWindow(element).then(load);
}
