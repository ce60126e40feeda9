import { make, textButton } from "../figures/tools.js";
import { applyTheme, savedTheme, saveTheme, THEMES } from "./theme-first.js";

const NAMES = { auto: "System", light: "Light", dark: "Dark" };

/** `<theme-toggle>`: one button that steps through system, light and dark. */
export class ThemeToggle extends HTMLElement {
  connectedCallback() {
    this.label = make("span", { className: "bar-word" });
    this.button = textButton("bar-button", this.label, () => this.#next());
    this.replaceChildren(this.button);
    this.#show(savedTheme());
    addEventListener("storage", this.#followOtherTab);
  }

  disconnectedCallback() {
    removeEventListener("storage", this.#followOtherTab);
  }

  #followOtherTab = () => {
    applyTheme(savedTheme());
    this.#show(savedTheme());
  };

  #next() {
    const theme = THEMES[(THEMES.indexOf(savedTheme()) + 1) % THEMES.length];
    saveTheme(theme);
    applyTheme(theme);
    this.#show(theme);
  }

  #show(theme) {
    this.label.textContent = NAMES[theme];
    this.button.dataset.theme = theme;
    this.button.setAttribute("aria-label", `Theme: ${NAMES[theme]}. Change it`);
  }
}

customElements.define("theme-toggle", ThemeToggle);

// Paper is white. CSS follows by itself (style/base/tokens.css), but a canvas is painted already: the page turns light
// while it prints, and its charts repaint.
addEventListener("beforeprint", () => applyTheme("light"), { capture: true }); // before the listeners of charts
addEventListener("afterprint", () => applyTheme(savedTheme()));
