"""A visitor of the page, in whichever browser: runs cells, and notes whatever should not happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from security.firefox import firefox, program

Evaluate = Callable[..., Any]

VISIT = Path(__file__).with_name("visit.js").read_text()


class Visitor:
    """Has one page open, and attacks from its first cell."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate
        self.cell = str(evaluate("() => document.querySelector('live-cell').id"))
        evaluate(f"() => {{ window.visit = {VISIT.split(chr(10), 1)[1].strip().rstrip(';')}; }}")
        evaluate("() => window.visit.watch()")
        self.others = self.other_cells()

    def other_cells(self) -> list[str]:
        """What all cells show beside the one that attacks."""
        shown: list[str] = self.evaluate("(id) => window.visit.others(id)", self.cell)
        return shown

    def run(self, code: str, seconds: float = 150) -> dict[str, Any]:
        """Run code in the cell; what came of it, and what the page says."""
        result: dict[str, Any] = self.evaluate(
            "(...run) => window.visit.run(...run)", self.cell, code, seconds
        )
        assert not result["hangs"], f"nothing has ended after {seconds} s: {result}"
        return result

    def assert_unharmed(self) -> None:
        """Nothing was made, asked or thrown in the page, and no other cell shows anything else."""
        assert self.evaluate("() => window.visit.harm()") == []
        assert self.other_cells() == self.others


@contextmanager
def in_chromium(chromium: Browser, url: str) -> Iterator[Visitor]:
    """A visitor with Chromium."""
    page = chromium.new_page()
    page.goto(url)
    page.locator("python-status[data-phase]").wait_for()
    yield Visitor(
        lambda function, *given: page.evaluate(f"(given) => ({function})(...given)", given)
    )
    page.close()


@contextmanager
def in_firefox(url: str) -> Iterator[Visitor]:
    """A visitor with Firefox; skips where there is none."""
    path = program()
    if path is None:
        pytest.skip("there is no Firefox here (Debian: apt-get install firefox-esr)")
    with firefox(path) as browser:
        browser.go(url)
        yield Visitor(browser.evaluate)
