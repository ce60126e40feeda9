"""A reader of the decision: says what the task is, waits for the order, reads what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page

from browser.door import door
from browser.planner_reader import ANEW

SECONDS = 90  # a first start of Python on a busy machine
SHOWN = "() => document.querySelector('method-decision').view"


class DecisionReader:
    """Drives the decision of one page; opens that of the site at `url` first when it is given."""

    def __init__(self, page: Page, url: str = "") -> None:
        self.page = page
        if url:
            page.goto(door(url, "planner"))
        self.root = page.locator("method-decision")
        self.root.scroll_into_view_if_needed()
        page.locator("method-decision[data-standing]:not([data-standing=quiet])").wait_for()

    def begin_anew(self) -> None:
        """Have what the page first shows, every fold closed, with Python up."""
        self.page.evaluate("() => document.activeElement.blur()")  # which may tell of a change
        self.page.locator("method-decision:not([data-waits])").wait_for()  # the address follows
        self.page.evaluate(ANEW)
        self.wait_for(lambda: self.view["state"] == {}, "it does not show what it first did")
        self.settle("")

    @property
    def view(self) -> dict[str, Any]:
        """The view that is drawn, as Python gave it."""
        found: dict[str, Any] = self.page.evaluate(SHOWN)
        return found

    @property
    def title(self) -> str:
        """The answer."""
        return self.root.locator(".verdict-title").inner_text()

    @property
    def order(self) -> list[str]:
        """The names of the methods, as they stand."""
        return self.root.locator(".md-name").all_inner_texts()

    @property
    def address(self) -> str:
        """What the address carries."""
        return str(self.page.evaluate("() => decodeURIComponent(location.hash)"))

    def control(self, key: str) -> Locator:
        """The control of an input."""
        return self.root.locator(f'[data-key="{key}"]:not(details)')

    def wait(self, standing: str = "live") -> None:
        """Wait until the decision stands like this."""
        self.page.locator(f"method-decision[data-standing={standing}]").wait_for(
            timeout=SECONDS * 1000
        )

    def settle(self, address: str) -> None:
        """Wait until this is in the address and all that belongs to it is shown."""
        ready = "method-decision[data-standing=live]:not([data-waits])"
        self.page.locator(ready).wait_for(timeout=SECONDS * 1000)
        self.wait_for(
            lambda: self.address == address and self.page.locator(ready).count() == 1,
            f"the address does not say {address!r}",
        )

    def wait_for(self, true: Callable[[], bool], otherwise: str) -> None:
        """Wait until something is so."""
        for _ in range(SECONDS * 20):
            if true():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{otherwise}: {self.address!r}, {self.view['state']}")

    def shows(self, title: str) -> None:
        """Wait until this is the answer."""
        self.root.locator(".verdict-title", has_text=title).wait_for(timeout=SECONDS * 1000)
