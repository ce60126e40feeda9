/** The entry of a page to read: tables that sort, plots that answer the pointer, and no Python. */

import "./page/theme-toggle.js";
import "./tables/data-table.js";
import "./plots/data-plot.js";
import { keepOffline } from "./page/offline.js";
import { bringContents, followReading } from "./page/reading-aids.js";
import { layOut } from "./page/visibility.js";

followReading(document.querySelector(".toc"));
bringContents(document.querySelector(".top-contents"), document.querySelector(".toc"));
const fonts = [['1em "Unfrozen Signs"', "Δ²"], ['1em "Unfrozen Mono"', "a"]];
// A font that came later would have all laid out again.
void Promise.allSettled(fonts.map((font) => document.fonts.load(...font))).then(layOut);
void keepOffline();
