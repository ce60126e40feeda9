/** What helps to read the article: contents at hand, copy buttons, notes beside citations and terms. */

import { textButton, copyText } from "../figures/tools.js";

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
    const passed = headings.findLastIndex((h) => atEnd || h.getBoundingClientRect().top <= line);
    const current = Math.max(passed, 0); // above the first heading, the first chapter comes next
    links.forEach((link, index) => setCurrent(link, index === current));
  };

  const later = () => {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  };
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);
  mark();
}

function setCurrent(link, isCurrent) {
  if (isCurrent) link.setAttribute("aria-current", "location");
  else link.removeAttribute("aria-current");
  link.closest("nav > ol > li").toggleAttribute("data-reading", chapterIsRead(link));
}

function chapterIsRead(link) {
  return link.closest("nav > ol > li").querySelector("[aria-current]") !== null;
}

const COPIED = 'pre > code:is(.language-sh, .language-bibtex)';
const FEEDBACK_MS = 2000;

/** @param {HTMLElement} article holds the listings */
export function addCopyButtons(article) {
  for (const code of article.querySelectorAll(COPIED)) {
    const frame = Object.assign(document.createElement("div"), { className: "listing-frame" });
    const button = textButton("button button-small copy-button", "Copy", () => void copy(button, code));
    const status = Object.assign(document.createElement("span"), { className: "visually-hidden" });
    status.setAttribute("role", "status");
    code.parentElement.replaceWith(frame);
    frame.append(code.parentElement, button, status);
  }
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
  const card = document.createElement("div");
  card.className = "hover-card";
  card.id = "hover-card";
  card.hidden = true;
  card.setAttribute("role", "tooltip");
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
    const words = target?.querySelector(".work") ?? target?.nextElementSibling;
    if (!words) return;
    card.replaceChildren(...words.cloneNode(true).childNodes);
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
