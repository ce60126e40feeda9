"""What axe-core finds wrong in a page, and whether the page scrolls sideways."""

from collections.abc import Iterator
from typing import Any, Literal

from playwright.sync_api import Page

import build
from browser.drawing import drawn

Look = tuple[Literal["light", "dark"], int]

STRICT = {
    rule: {"enabled": True} for rule in ("focus-order-semantics", "p-as-heading", "target-size")
}
"""Rules that axe leaves out by default: two experimental ones, and one of WCAG 2.2."""
RUN = """async ([within, rules]) => {
  const sought = [...document.querySelectorAll(within)];
  const apart = (e) => !sought.some((each) => each.contains(e) || e.contains(each));
  const others = [...document.querySelectorAll("main *")].filter(
    (e) => apart(e) && !apart(e.parentElement) && e.checkVisibility());
  const shown = others.map((e) => [e, e.style.display]);
  for (const [e] of shown) e.style.display = "none";
  const options = { rules, resultTypes: ["violations"], preload: false };
  const { violations } = await axe.run(within, options);
  for (const [e, display] of shown) e.style.display = display;
  return violations;
}"""
"""What lies beside is put out of sight meanwhile: axe lays a grid over all that can be seen.

What passed is not described, and no file is fetched for rules about sound, of which there is none.
"""
LISTEN = """() => {
  const live = '[role=status], [role=alert], [role=log], [aria-live]:not([aria-live=off])';
  window.announced = [];
  new MutationObserver((records) => {
    const regions = new Set(records.map(({ target }) =>
      (target.nodeType === 1 ? target : target.parentElement)?.closest(live)).filter(Boolean));
    for (const region of regions) {
      if (region.textContent) window.announced.push(region.textContent);
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
"""Notes every text that a screen reader would be handed, region by region, as it changes."""
SHORTEN = """() => {
  for (const row of document.querySelectorAll("tbody tr:nth-child(n + 4)")) row.remove();
}"""
"""Of the long tables of measurements the rows that are like those above them."""
AXE = build.ROOT / "node_modules" / "axe-core" / "axe.min.js"


def violations(page: Page, within: str = "html") -> list[str]:
    """One line a rule, with its first places; only those inside the elements `within` matches."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate("() => scrollTo({ top: 0, behavior: 'instant' })")  # the bar lies over nothing
    found: list[dict[str, Any]] = page.evaluate(RUN, [within, STRICT])
    return [f"{v['id']}: {[node['html'][:120] for node in v['nodes'][:3]]}" for v in found]


def is_wider_than_the_window(page: Page) -> bool:
    """Whether something sticks out, so that the page can be scrolled sideways."""
    wide: bool = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    return wide


def looks(page: Page, *wanted: Look) -> Iterator[Look]:
    """The page in each scheme and width, drawn, and without movement: it is opened once for all."""
    for scheme, width in wanted:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 900})
        drawn(page)
        yield scheme, width


def objections(page: Page, within: str, *wanted: Look) -> list[str]:
    """What axe finds inside `within`, and whether anything sticks out, in each of the looks."""
    found = []
    for look in looks(page, *wanted):
        found += [f"{look}: {line}" for line in violations(page, within)]
        if is_wider_than_the_window(page):
            found.append(f"{look}: it scrolls sideways")
    return found


def announced(page: Page) -> list[str]:
    """What a screen reader was handed since `LISTEN`."""
    texts: list[str] = page.evaluate("window.announced")
    return [text.replace("\u00a0", " ") for text in texts]
