/** Reading aids: the table of contents, copy buttons, notes beside citations and terms, sliders in sentences. */

import { copyText, make, textButton } from "../figures/tools.js";
import { whenNearViewport } from "./visibility.js";

const READING_LINE = 0.3; // of the window, from its top
const BESIDE = "(min-width: 1100px)"; // from there on the list stands beside the text, see style/base/page.css

/**
 * @param {HTMLAnchorElement} link the bar's link to the list
 * @param {HTMLElement} nav holds the list
 */
export function bringContents(link, nav) {
  const button = textButton(link.className, link.textContent, () => (nav.hasAttribute("data-open") ? close() : open()));
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", nav.id);
  link.replaceWith(button);

  const open = () => {
    nav.style.blockSize = `${nav.offsetHeight}px`; // the page stays where it is while the list floats
    nav.toggleAttribute("data-open", true);
    button.setAttribute("aria-expanded", "true");
    const current = nav.querySelector("[aria-current]") ?? nav.querySelector("a");
    current.focus({ preventScroll: true });
    const list = nav.querySelector("ol");
    list.scrollTop = current.offsetTop - list.clientHeight / 2; // of the list alone: the page stays
  };
  const close = () => {
    nav.toggleAttribute("data-open", false);
    nav.style.blockSize = "";
    button.setAttribute("aria-expanded", "false");
  };
  const isOutside = (target) => target instanceof Node && !nav.contains(target) && !button.contains(target);

  nav.addEventListener("click", ({ target }) => target.closest("a") && close());
  nav.addEventListener("focusout", ({ relatedTarget }) => isOutside(relatedTarget) && close());
  document.addEventListener("pointerdown", ({ target }) => isOutside(target) && close());
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !nav.hasAttribute("data-open")) return;
    close();
    button.focus({ preventScroll: true });
  });
  matchMedia(BESIDE).addEventListener("change", close);
}

/**
 * Marks the reading position in the list: the last heading above the reading line.
 * @param {HTMLElement} nav the baked `<nav class="toc">`
 */
export function followReading(nav) {
  const links = [...nav.querySelectorAll("a[href^='#']")];
  const headings = links.map((link) => document.getElementById(link.hash.slice(1)));
  let waiting = false;

  const mark = () => {
    waiting = false;
    const line = innerHeight * READING_LINE;
    const atEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    const passed = headings.findLastIndex((heading) => atEnd || isAbove(line, heading));
    const current = Math.max(passed, 0); // above the first heading, the first chapter comes next
    links.forEach((link, index) => setCurrent(link, index === current));
  };

  const later = () => {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  };
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);
  later();
}

/** Whether `heading` is above `line`; one in a chapter that is far is told from its chapter, which is not laid out then. */
function isAbove(line, heading) {
  const chapter = heading.closest(".chapter")?.getBoundingClientRect();
  if (chapter && chapter.top > line) return false;
  return chapter?.bottom <= line || heading.getBoundingClientRect().top <= line;
}

function setCurrent(link, isCurrent) {
  if (isCurrent) link.setAttribute("aria-current", "location");
  else link.removeAttribute("aria-current");
  const chapter = link.closest("nav > ol > li");
  chapter.toggleAttribute("data-reading", chapter.querySelector("[aria-current]") !== null);
}

const COPIED = 'pre > code:is(.language-sh, .language-bibtex)';
const FEEDBACK_MS = 2000;

/** @param {HTMLElement} article holds the listings */
export function addCopyButtons(article) {
  for (const code of article.querySelectorAll(COPIED)) void whenNearViewport(code).then(() => addCopyButton(code));
}

function addCopyButton(code) {
  const frame = make("div", { className: "listing-frame" });
  const button = textButton("button button-small copy-button", "Copy", () => void copy(button, code));
  const status = make("span", { className: "visually-hidden", role: "status" });
  code.parentElement.replaceWith(frame);
  frame.append(code.parentElement, button, status);
}

async function copy(button, code) {
  const isCopied = await copyText(code.textContent.trimEnd());
  if (!isCopied) getSelection().selectAllChildren(code);
  const label = isCopied ? "Copied" : "Selected";
  button.textContent = label;
  button.nextElementSibling.textContent = isCopied ? label : "Selected: copy it with the keyboard";
  setTimeout(() => {
    button.textContent = "Copy";
    button.nextElementSibling.textContent = "";
  }, FEEDBACK_MS);
}

const NOTED = 'a.cite, a[href^="#term-"]';

const GAP_PX = 6;
const EDGE_PX = 12;
const LINGER_MS = 200; // long enough to move the pointer from the link into the note

/** @param {HTMLElement} article holds the links */
export function addHoverNotes(article) {
  const card = make("div", { className: "hover-card", id: "hover-card", hidden: true, role: "tooltip" });
  document.body.append(card);

  let leaving = 0;
  let link = null; // whose note is shown

  const hide = () => {
    clearTimeout(leaving);
    card.hidden = true;
    link?.removeAttribute("aria-describedby");
    link = null;
  };
  const show = (event) => {
    const noted = event.target.closest?.(NOTED);
    if (!noted) return;
    hide();
    const target = document.getElementById(noted.hash.slice(1));
    const note = target?.querySelector(".work") ?? target?.nextElementSibling;
    if (!note) return;
    card.replaceChildren(...note.cloneNode(true).childNodes);
    card.hidden = false;
    link = noted;
    link.setAttribute("aria-describedby", card.id);
    place(card, link.getBoundingClientRect());
  };

  article.addEventListener("pointerover", show);
  article.addEventListener("focusin", show);
  article.addEventListener("focusout", hide);
  const hideSoon = () => {
    clearTimeout(leaving);
    leaving = setTimeout(hide, LINGER_MS);
  };
  article.addEventListener("pointerout", (event) => event.target.closest(NOTED) && hideSoon());
  card.addEventListener("pointerenter", () => clearTimeout(leaving));
  card.addEventListener("pointerleave", hideSoon);
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  const follow = () => link && place(card, link.getBoundingClientRect()); // focus may have scrolled
  addEventListener("scroll", follow, { passive: true });
}

/** Puts the card under the link, or above it where there is no room, inside the window. */
function place(card, link) {
  const { offsetWidth: width, offsetHeight: height } = card;
  const left = Math.min(Math.max(EDGE_PX, link.left - width / 2), innerWidth - width - EDGE_PX);
  const below = link.bottom + GAP_PX;
  const top = below + height > innerHeight ? link.top - height - GAP_PX : below;
  card.style.left = `${left}px`;
  card.style.top = `${top}px`;
}

/**
 * `<prose-slider>`: a sentence with a number that the reader can change. The site builder has computed its texts at every
 * stop and printed the first; they are looked up here, and nothing is computed.
 */
class ProseSlider extends HTMLElement {
  connectedCallback() {
    const place = this.querySelector(".slider-controls");
    if (this.data || !place) return;
    this.data = JSON.parse(this.querySelector("script.data").textContent);
    this.holes = [...this.querySelectorAll(".slid")];
    this.inputs = this.data.sliders.map((slider) => this.#input(slider));
    place.replaceChildren(...this.inputs.map((input) => input.parentElement));
    this.#show();
  }

  #input({ label, texts, start }) {
    const input = make("input", { type: "range", className: "range", min: 0, max: texts.length - 1, step: 1, value: start });
    input.addEventListener("input", () => this.#show());
    make("label", { className: "slider-row" }, make("span", {}, label), input);
    return input;
  }

  /** Fills in the texts of these stops, and widths of bars; each control's value text is its own stop and the results. */
  #show() {
    const { sliders, sentences } = this.data;
    const at = this.inputs.map((input) => Number(input.value));
    const row = sentences[at.reduce((index, stop, i) => index * sliders[i].texts.length + stop, 0)];
    const isBar = this.holes.map((hole) => hole.localName === "rect");
    this.holes.forEach((hole, i) => (isBar[i] ? hole.setAttribute("width", row[i]) : (hole.textContent = row[i])));
    sliders.forEach(({ texts }, i) => {
      const own = texts[at[i]];
      const rest = row.filter((text, hole) => text !== own && !isBar[hole]);
      this.inputs[i].setAttribute("aria-valuetext", [own, ...rest].join(", "));
    });
  }
}

customElements.define("prose-slider", ProseSlider);
