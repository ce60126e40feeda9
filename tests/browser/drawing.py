"""What a page has been told is drawn with its next frame: tests look after that."""

import time

from playwright.sync_api import Page

_AFTER_TWO_FRAMES = """() => {
  self.framesDrawn = false;
  requestAnimationFrame(() => requestAnimationFrame(() => (self.framesDrawn = true)));
}"""
MOST_SECONDS = 1.0  # a hidden or frozen page draws nothing


def drawn(page: Page) -> None:
    """Wait until what stands in the state of the page's views stands on the page, too."""
    page.evaluate(_AFTER_TWO_FRAMES)
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and not page.evaluate("self.framesDrawn"):
        page.wait_for_timeout(10)
