/** The entry of the pages of the documentation. */

import "./page/theme-toggle.js";
import "./page/site-search.js";
import { keepOffline } from "./page/offline.js";
import { addCopyButtons, bringContents, followReading } from "./page/reading-aids.js";
import { layOut } from "./page/visibility.js";
import { spellCommands } from "./run/command-line.js";

followReading(document.querySelector(".toc"));
bringContents(document.querySelector(".top-contents"), document.querySelector(".toc"));
spellCommands(document.querySelector(".article"));
addCopyButtons(document.querySelector(".article"));
void layOut();
void keepOffline();
