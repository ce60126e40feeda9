"""What a page draws with one of its next frames, or once a reader comes near: tests wait for it."""

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

_ASK = """() => {
  self.framesDrawn = false;
  requestAnimationFrame(() => requestAnimationFrame(() => (self.framesDrawn = true)));
  const views = [...document.querySelectorAll('run-view')].filter((view) => view.state);
  self.runsToDraw = views.map((view) => [view, view.state.run, view.state.events]);
}"""
# A view draws less often than a frame where drawing takes long; the line below its charts counts
# the events that it has drawn, and is hidden while there are none.
_IS_DRAWN = """(isLate) => (isLate || self.framesDrawn) && self.runsToDraw.every((one) => {
  const [view, run, events] = one;
  const [log, { state }] = [view.querySelector('.run-log'), view];
  if (!log || state.run !== run || state.events < events) return true;
  if (events === 0) return log.hidden;
  const [name, text] = [`${run} · `, log.textContent];
  return !log.hidden && text.startsWith(name) && parseInt(text.slice(name.length)) >= events;
})"""
LATE_SECONDS = 1.0  # a page that is not in front may get one frame in that time
PATIENCE_SECONDS = 120.0


def drawn(page: Page) -> None:
    """Wait until what stands in the state of the page's views stands on the page, too."""
    page.evaluate(_ASK)
    late = time.monotonic() + LATE_SECONDS
    wait(page, lambda: page.evaluate(_IS_DRAWN, time.monotonic() > late), "drawing of a view")


def wait(page: Page, until: Callable[[], Any], what: str) -> None:
    """Wait until it is so; the page goes on meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline, f"no {what}"
        page.wait_for_timeout(20)


_COME_NEAR = """async () => {
  const root = document.documentElement;
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  for (let y = 0; y < root.scrollHeight; y += innerHeight) {
    scrollTo({ top: y, behavior: "instant" });
    await frame();
  }
  scrollTo({ top: 0, behavior: "instant" });
  await frame();
}"""


def laid_out(page: Page) -> None:
    """Wait until chapters, cells and figures far from the window have their heights, too."""
    for element in (".chapter", ".chapter > live-cell", ".chapter > .figure"):
        expect(page.locator(f"{element}:not(.is-laid-out)")).to_have_count(0)


def come_near_all(page: Page) -> None:
    """Read the page to its end, so that all of it stands as it does for a reader who is near."""
    laid_out(page)
    page.evaluate(_COME_NEAR)
