/**
 * Marks the reading position in the table of contents: the last heading above the upper third of
 * the window is the one being read.
 */

const READING_LINE = 0.3;

/** @param {HTMLElement} nav the baked `<nav class="toc">` */
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
