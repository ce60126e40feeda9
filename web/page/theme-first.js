/**
 * The theme that the reader chose: "auto" follows the system, "light" and "dark" override it. This script runs before
 * the first paint, so that the other theme never flashes. The choice is stored in localStorage; where storage is
 * blocked it lasts as long as the page.
 */

const KEY = "unfrozen-theme";
export const THEMES = ["auto", "light", "dark"];

let unsaved = "auto";

/** @returns {string} the reader's choice, "auto" when there is none */
export function savedTheme() {
  try {
    const saved = localStorage.getItem(KEY);
    return THEMES.includes(saved) ? saved : unsaved;
  } catch {
    return unsaved; // storage is blocked: private windows, strict settings
  }
}

/** @param {string} theme one of THEMES */
export function saveTheme(theme) {
  unsaved = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // The choice still holds until the page is closed.
  }
}

/** @param {string} theme one of THEMES */
export function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

applyTheme(savedTheme());

// A reader who comes back is put where they were, a place in the whole page: no chapter is left for later.
const [visit] = performance.getEntriesByType("navigation");
document.documentElement.toggleAttribute("data-back", ["reload", "back_forward"].includes(visit?.type));
