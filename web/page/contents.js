/**
 * The contents at hand: on a screen without room for them beside the text, a button of the bar opens
 * the list where the reader is. Without this script the button is a link that leads to the list.
 */

import { textButton } from "../figures/tools.js";

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
