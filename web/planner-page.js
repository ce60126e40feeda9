/** The entry of the page of the planner. */

import "./page/theme-toggle.js";
import "./cells/python-status.js";
import "./run/view/runner-status.js";
import "./decision/method-decision.js";
import "./planner/memory-planner.js";
import { keepOffline } from "./page/offline.js";
import { carryStates, goToPlace, keepStates } from "./page/address.js";
import { layOut } from "./page/visibility.js";
import { takeToken } from "./run/runner.js";

takeToken();
keepStates();
carryStates(document.querySelectorAll(".top-bar [href='../']"));
goToPlace();
void layOut();
void keepOffline();
