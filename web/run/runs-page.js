/** The entry of the page of runs. */

import "../page/theme-toggle.js";
import "../cells/python-status.js";
import "../tables/data-table.js";
import "./view/runner-status.js";
import "./view/run-view.js";
import { addCopyButtons } from "../page/reading-aids.js";
import { spellCommands } from "./command-line.js";
import { addSavedRuns } from "./page-runs.js";
import { takeToken } from "./runner.js";

takeToken();
void addSavedRuns();
spellCommands(document.querySelector(".article"));
addCopyButtons(document.querySelector(".article"));
