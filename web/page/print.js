/**
 * Paper is white. What CSS colours follows by itself (style/base/tokens.css); a canvas has been
 * painted already, so a dark page turns light for the moment of printing, and its charts repaint.
 */

import { applyTheme, savedTheme } from "./theme.js";

addEventListener("beforeprint", () => applyTheme("light"), { capture: true }); // before any chart hears of it
addEventListener("afterprint", () => applyTheme(savedTheme()));
