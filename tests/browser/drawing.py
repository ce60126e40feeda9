"""What a page has been told is drawn with one of its next frames: tests look after that."""

import time

from playwright.sync_api import Page

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
MOST_SECONDS = 10.0  # a frozen page draws nothing


def drawn(page: Page) -> None:
    """Wait until what stands in the state of the page's views stands on the page, too."""
    page.evaluate(_ASK)
    asked = time.monotonic()
    while (waited := time.monotonic() - asked) < MOST_SECONDS:
        if page.evaluate(_IS_DRAWN, waited > LATE_SECONDS):
            return
        page.wait_for_timeout(10)
