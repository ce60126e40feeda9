"""A reader of the planner: sets it, waits for its answer, reads what it shows."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page

from browser.door import door

SECONDS = 90  # a first start of Python on a busy machine
ANEW = """() => {
  const folds = ":is(memory-planner, method-decision) details[open]";
  for (const fold of document.querySelectorAll(folds)) fold.open = false;
  const state = { shown: {} };
  history.pushState(state, "", location.pathname);
  dispatchEvent(new PopStateEvent("popstate", { state }));
}"""
SHOWN = "() => document.querySelector('memory-planner').view"


class PlannerReader:
    """Drives the planner of one page; opens that of the site at `url` first when it is given."""

    def __init__(self, page: Page, url: str = "") -> None:
        self.page = page
        if url:
            page.goto(door(url, "planner"))
        self.root = page.locator("memory-planner")
        self.root.scroll_into_view_if_needed()
        self.page.locator("memory-planner[data-standing]:not([data-standing=quiet])").wait_for()

    def begin_anew(self) -> None:
        """Have what the page first shows, every fold closed, with Python up."""
        self.page.evaluate("() => document.activeElement.blur()")  # which may tell of a change
        self.page.locator("memory-planner:not([data-waits])").wait_for()  # the address follows
        self.page.evaluate(ANEW)
        self.shows({})
        self.settle("")

    @property
    def view(self) -> dict[str, Any]:
        """The view that is drawn, as Python gave it."""
        found: dict[str, Any] = self.page.evaluate(SHOWN)
        return found

    @property
    def verdict(self) -> str:
        """The headline."""
        return self.root.locator(".verdict-title").inner_text()

    @property
    def plan(self) -> str:
        """The plan that the address carries, or an empty text."""
        return str(self.page.evaluate("() => decodeURIComponent(location.hash)"))

    def control(self, key: str) -> Locator:
        """The control of a setting."""
        return self.root.locator(f'[data-key="{key}"]:not(details)')

    def wait(self, standing: str = "live") -> None:
        """Wait until the planner stands like this."""
        self.page.locator(f"memory-planner[data-standing={standing}]").wait_for(
            timeout=SECONDS * 1000
        )

    def settle(self, plan: str) -> None:
        """Wait until this plan is shown, its advice included, and stands in the address."""
        ready = "memory-planner[data-standing=live]:not([data-waits])"
        self.page.locator(ready).wait_for(timeout=SECONDS * 1000)
        for _ in range(SECONDS * 20):
            if self.plan == plan and self.page.locator(ready).count():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the address says {self.plan!r}, not {plan!r}")

    def shows(self, state: dict[str, str]) -> None:
        """Wait until the figures are those of this state: an address is there before they are."""
        for _ in range(SECONDS * 20):
            if self.view["state"] == state:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"it shows {self.view['state']}, not {state}")

    def type(self, key: str, text: str) -> None:
        """Type into a field."""
        self.control(key).fill(text)

    def fold(self, name: str) -> None:
        """Open a fold of the controls: settings, or config."""
        self.root.locator(f"[data-fold={name}] > summary").click()
