/** The entry of the page of runs. */

import "./page/theme-toggle.js";
import "./cells/python-status.js";
import "./tables/data-table.js";
import "./run/view/runner-status.js";
import "./run/view/run-list.js";
import "./run/view/run-view.js";
import { keepOffline } from "./page/offline.js";
import { addCopyButtons } from "./page/reading-aids.js";
import { layOut } from "./page/visibility.js";
import { spellCommands } from "./run/command-line.js";
import { addSavedRuns } from "./run/page-runs.js";
import { takeToken } from "./run/runner.js";

takeToken();
void addSavedRuns();
spellCommands(document.querySelector(".article"));
addCopyButtons(document.querySelector(".article"));
void layOut();
void keepOffline();
