"""A reader of the fine-tune in the page: turns dials, trains, stops, asks, reads what is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page

from browser.drawing import drawn

PATIENCE_SECONDS = 240.0
SHORT = {
    **{"steps": 4, "warmup": 1, "rows_per_step": 2},
    **{"eval_rows": 2, "eval_every": 2, "sample_tokens": 2},
}
"""Choices of a run that takes a moment."""
LONG = {"steps": 400, "rows_per_step": 2, "eval_rows": 2, "sample_tokens": 0}
"""… and of one that outlasts any test."""
MODEL = "demo/model/model.safetensors"
STOPPED_WITHIN_SECONDS = 2.0  # on a busy machine; `build.py bench lab` has the bar
STATE = """() => {
  const { run, step, status, evals } = document.querySelector('page-run').state;
  return { run, step, status, evals: Object.keys(evals).length };
}"""


class PageRunReader:
    """Drives `<page-run>` of one page; opens `url` first."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        self.root = page.locator("page-run")
        self.come_near()

    def come_near(self) -> None:
        """Scroll there and wait until it is live."""
        self.root.scroll_into_view_if_needed()
        self.root.locator(".page-run-start:not(:disabled)").wait_for()

    @property
    def choices(self) -> dict[str, Any]:
        """What the dials say, and what no dial has."""
        found: dict[str, Any] = self.page.evaluate("document.querySelector('page-run').choices")
        return found

    @choices.setter
    def choices(self, given: dict[str, Any]) -> None:
        self.page.evaluate(
            "(given) => { document.querySelector('page-run').choices = given }", given
        )

    @property
    def state(self) -> dict[str, Any]:
        """The small part of the folded run."""
        found: dict[str, Any] = self.page.evaluate(STATE)
        return found

    @property
    def phase(self) -> str:
        """What the trainer does."""
        return self.root.get_attribute("data-phase") or ""

    @property
    def said(self) -> str:
        """The status line."""
        return self.root.locator(".page-run-status").inner_text()

    @property
    def titles(self) -> list[str]:
        """The runs in the list."""
        return self.root.locator(".page-run-item-title").all_inner_texts()

    @property
    def dots(self) -> Locator:
        """The reader's own dots on the plane."""
        return self.root.locator(".page-run-dot-run")

    def begin(self, given: dict[str, Any] | None = None) -> None:
        """Start a run and do not wait for it."""
        if given is not None:
            self.choices = given
        self.page.evaluate(
            "() => { self.ran = null; document.querySelector('page-run').start()"
            ".then((ended) => { self.ran = ended }) }"
        )

    def ended(self) -> dict[str, Any]:
        """Wait for the end of the run that was begun: what `start()` promised."""
        self.wait(lambda: self.page.evaluate("self.ran") is not None, "end of the run")
        found: dict[str, Any] = self.page.evaluate("self.ran")
        return found

    def train(self, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start a run and wait for its end."""
        self.begin(given)
        return self.ended()

    def until_training(self) -> None:
        """Wait for the first step of the run that was begun."""
        self.wait(
            lambda: self.state["status"] == "running" and self.state["step"] > 0, "first step"
        )

    def stop(self) -> tuple[dict[str, Any], float]:
        """Press Stop; how the run ended, and after how many seconds."""
        begun = time.monotonic()
        self.root.locator(".page-run-stop").click()
        found = self.ended()
        return found, time.monotonic() - begun

    def ask(self, prompt: str) -> dict[str, Any]:
        """Both models' answers, as the element gives them."""
        found: dict[str, Any] = self.page.evaluate(
            "(prompt) => document.querySelector('page-run').ask(prompt)", prompt
        )
        return found

    def blend(self, alpha: float) -> dict[str, Any]:
        """Losses and exact matches at α on the way, as the element gives them."""
        found: dict[str, Any] = self.page.evaluate(
            "(alpha) => document.querySelector('page-run').blend(alpha)", alpha
        )
        return found

    def wait(self, until: Callable[[], Any], what: str) -> None:
        """Poll: `wait_for_function` needs eval, which the page's policy refuses."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert time.monotonic() < deadline, (
                f"no {what}: {self.phase}, {self.said}, {self.state}"
            )
            self.page.wait_for_timeout(30)
        drawn(self.page)

    def shows(self, text: str) -> None:
        """Wait until the status line holds `text`."""
        self.wait(lambda: text in self.said, repr(text))
