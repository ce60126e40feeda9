/** The page's entry. The article is complete without it; this makes it live. */

import "./page/theme-toggle.js";
import "./page/embed.js";
import "./run/view/runner-status.js";
import { WIDGETS } from "widgets"; // site_builder.config writes it from widgets.toml
import { carryStates, followMoved, goToPlace, isAddressed, keepStates } from "./page/address.js";
import { keepOffline } from "./page/offline.js";
import { sharedVersion } from "./cells/edits.js";
import { spellCommands } from "./run/command-line.js";
import { takeToken } from "./run/runner.js";
import { bringContents, followReading, addCopyButtons, addHoverNotes } from "./page/reading-aids.js";
import { layOut, whenNearViewport } from "./page/visibility.js";

takeToken();
void sharedVersion();
followMoved();
keepStates();
carryStates(document.querySelectorAll(".top-pages [href='planner/'], .toc-page [href='planner/']"));
goToPlace();
followReading(document.querySelector(".toc"));
bringContents(document.querySelector(".top-contents"), document.querySelector(".toc"));
addHoverNotes(document.querySelector(".article"));
spellCommands(document.querySelector(".article"));
addCopyButtons(document.querySelector(".article"));

// In tasks of their own, so that the page answers in between. One that does not
// come takes no other with it. The bar, with *Run all*, is live once all of them are.
const parts = [
  import("./tables/data-table.js"),
  import("./plots/data-plot.js"),
  import("./cells/live-cell.js"),
  import("./run/view/run-view.js"),
  import("./lab/page-run.js"),
];
void Promise.allSettled(parts).then(() => import("./cells/python-status.js"));

// Widgets are complete as printed; what makes them live is fetched when the reader comes near.
for (const [tag, block, load] of WIDGETS) {
  for (const element of document.querySelectorAll(tag)) {
    void (block && isAddressed(block) ? Promise.resolve() : whenNearViewport(element)).then(load);
  }
}
// Captions below the first chapter need this face, and a face that comes later has everything laid out again, as has a cell's bar.
void Promise.allSettled([document.fonts.load('1em "Unfrozen UI"', "λ"), ...parts]).then(layOut);
void keepOffline();
