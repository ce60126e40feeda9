/** The page's entry. The article is complete without it; this makes it live. */

import "./widgets/theme-toggle.js";
import "./widgets/python-status.js";
import "./widgets/runner-status.js";
import "./widgets/data-table.js";
import "./widgets/data-plot.js";
import "./widgets/live-cell.js";
import "./widgets/prose-slider.js";
import "./widgets/run-view.js";
import { queryOfAddress } from "./widgets/planner-address.js";
import { takeToken } from "./run/token.js";
import { addHoverNotes } from "./widgets/hover-notes.js";
import { nearTheWindow } from "./widgets/near-the-window.js";
import { followReading } from "./widgets/toc.js";

takeToken();
followReading(document.querySelector(".toc"));
addHoverNotes(document.querySelector(".article"));

// The planner is complete as printed; what makes it live is fetched when the reader comes near.
const planner = document.querySelector("memory-planner");
if (planner) {
  const wanted = queryOfAddress() === null ? nearTheWindow(planner) : Promise.resolve();
  void wanted.then(() => import("./widgets/memory-planner.js"));
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
