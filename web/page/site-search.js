/**
 * `<site-search>`: one search over article, guides and reference. `/` leads to its field, the arrow keys through what it
 * finds, Escape back. The index is fetched when the reader comes to the field, and nothing is sent.
 */

import { make, put } from "../figures/tools.js";
import { SITE } from "./site.js";

const MOST = 12;
const AROUND = 70; // characters of the text on each side of what was found
const KEYS = { ArrowDown: 1, ArrowUp: -1 };

/**
 * Returns the sections that have all words, the best first.
 * @param {[string, string, string, string][]} index page, address, title and text of each section
 * @param {string} query
 */
export function search(index, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  const found = [];
  for (const [page, address, title, text] of index) {
    const [name, body] = [`${title} ${page}`.toLowerCase(), text.toLowerCase()];
    const scores = words.map((word) => (name.includes(word) ? 8 : 0) + Math.min(body.split(word).length - 1, 4));
    if (scores.includes(0)) continue;
    const score = scores.reduce((sum, each) => sum + each) / Math.log(60 + text.length);
    found.push({ page, address, title, text, score, at: Math.max(body.indexOf(words.find((word) => body.includes(word))), 0) });
  }
  return found.sort((a, b) => b.score - a.score);
}

class SiteSearch extends HTMLElement {
  #index = null; // a promise

  connectedCallback() {
    if (this.field) return;
    this.field = make("input", { type: "search", className: "search-field", placeholder: "Search article, guides and reference", autocomplete: "off" });
    this.field.setAttribute("aria-label", this.field.placeholder);
    this.status = make("p", { className: "quiet search-status", role: "status" });
    this.list = make("ol", { className: "search-results" });
    this.setAttribute("role", "search");
    this.append(this.field, make("kbd", { className: "search-key", ariaHidden: "true" }, "/"), this.status, this.list);
    this.field.addEventListener("focus", () => void this.#load());
    this.field.addEventListener("input", () => void this.#show());
    this.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
      event.preventDefault();
      this.field.focus();
    });
  }

  #load() {
    this.#index ??= fetch(new URL("search.json", SITE)).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error())));
    this.#index.catch(() => (this.#index = null)); // the next word tries again
    return this.#index;
  }

  async #show() {
    const query = this.field.value;
    let found = [];
    let text = "";
    try {
      found = search(await this.#load(), query);
      if (query.trim()) text = found.length === 0 ? "Nothing is found." : `${found.length} ${found.length === 1 ? "section" : "sections"}`;
    } catch {
      text = "The index did not come: is this machine offline?";
    }
    if (query !== this.field.value) return;
    put(this.status, text);
    this.list.replaceChildren(...found.slice(0, MOST).map(resultOf));
  }

  #onKey(event) {
    const places = [this.field, ...this.list.querySelectorAll("a")];
    if (event.key in KEYS) {
      event.preventDefault();
      const next = places.indexOf(document.activeElement) + KEYS[event.key];
      places[Math.min(Math.max(next, 0), places.length - 1)].focus();
    } else if (event.key === "Enter" && event.target === this.field) places[1]?.click();
    else if (event.key === "Escape") {
      if (event.target === this.field) this.field.value = "";
      this.field.focus();
      void this.#show();
    }
  }
}

function resultOf({ page, address, title, text, at }) {
  const from = Math.max(at - AROUND, 0);
  const excerpt = `${from > 0 ? "… " : ""}${text.slice(from, at + AROUND)} …`;
  const place = make("span", { className: "quiet" }, title === page ? "" : page);
  return make("li", {}, make("a", { href: new URL(address, SITE).href }, title), " ", place, make("span", { className: "soft search-text" }, excerpt));
}

customElements.define("site-search", SiteSearch);
