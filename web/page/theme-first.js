// Runs before the first paint, so that a reader who chose a theme never sees the other one flash.
import { applyTheme, savedTheme } from "./theme.js";

applyTheme(savedTheme());
