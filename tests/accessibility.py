"""What axe-core finds wrong in a page, and whether the page scrolls sideways."""

from typing import Any

from playwright.sync_api import Page

import build

STRICT = {
    rule: {"enabled": True} for rule in ("focus-order-semantics", "p-as-heading", "target-size")
}
"""Rules that axe leaves out by default: two experimental ones, and one of WCAG 2.2."""
AXE = build.ROOT / "node_modules" / "axe-core" / "axe.min.js"


def violations(page: Page, within: str = "html") -> list[str]:
    """One line a rule, with its first places; only those inside the elements `within` matches."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate("() => scrollTo({ top: 0, behavior: 'instant' })")  # the bar lies over nothing
    found: list[dict[str, Any]] = page.evaluate(
        "([within, rules]) => axe.run(within, { rules }).then((result) => result.violations)",
        [within, STRICT],
    )
    return [f"{v['id']}: {[node['html'][:120] for node in v['nodes'][:3]]}" for v in found]


def is_wider_than_the_window(page: Page) -> bool:
    """Whether something sticks out, so that the page can be scrolled sideways."""
    wide: bool = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    return wide
