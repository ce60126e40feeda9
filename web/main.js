/** The page's entry. The article is complete without it; this makes it live. */

import "./widgets/live-cell.js";
import "./widgets/python-status.js";
import "./widgets/theme-toggle.js";
import { addHoverNotes } from "./widgets/hover-notes.js";
import { followReading } from "./widgets/toc.js";

followReading(document.querySelector(".toc"));
addHoverNotes(document.querySelector(".article"));
