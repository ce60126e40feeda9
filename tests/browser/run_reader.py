"""A reader of the run view: opens the page and waits for what it shows. And writers to look at."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

import build
from browser.door import door
from browser.drawing import drawn

WRITER = build.ROOT / "tests" / "run" / "writer.py"
STATE = "() => document.querySelector('run-view').state"
BRIEF = """() => {
  const { run, lastSeq, step, status, events, gaps, duplicates } =
    document.querySelector('run-view').state;
  return { run, lastSeq, step, status, events, gaps, duplicates };
}"""
NOTICE = "() => document.querySelector('run-view').dataset.state ?? ''"
# The same, once it is that of the run in the state: what stood there before says nothing of it.
NOTICE_OF_THE_RUN = """() => {
  const view = document.querySelector('run-view');
  const [log, { run, events }] = [view.querySelector('.run-log'), view.state];
  const isDrawn = log.hidden ? events === 0 : events > 0 && log.textContent.startsWith(`${run} · `);
  return isDrawn ? view.dataset.state : '';
}"""
# Whether the window has this width, and every plot that of its place.
FITS = """(width) => {
  const fits = (plot) => plot.offsetWidth === plot.closest('.run-stage').clientWidth;
  return innerWidth === width && [...document.querySelectorAll('run-chart .u-wrap')].every(fits);
}"""
PATIENCE_SECONDS = 120.0


@contextmanager
def write(runs: Path, name: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real writer of a log in its own process; it is waited for, or killed if the test fails."""
    command = [sys.executable, str(WRITER), str(runs), name, *options]
    environment = {"PYTHONPATH": str(build.ROOT / "py"), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        command, cwd=build.ROOT, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def written(runs: Path, name: str, *options: str) -> Path:
    """A log that is complete."""
    with write(runs, name, *options) as writer:
        assert writer.wait(60) == 0
    return runs / name / "events.jsonl"


def reaches(chart: Locator, step: int) -> None:
    """Wait until a chart shows all steps to `step`: it is drawn after what is written around it."""
    expect(chart.locator(".run-stage")).to_have_attribute("data-range", f"0 {step}")


class RunReader:
    """Looks at the run view of one page; opens that of the site at `url` first when it is given."""

    def __init__(self, page: Page, url: str = "") -> None:
        self.page = page
        self.patience_seconds = PATIENCE_SECONDS
        if url:
            page.goto(door(url, "runs"))
        page.locator("run-view[data-state]").wait_for(state="attached")

    @property
    def state(self) -> dict[str, Any]:
        """The folded run."""
        folded: dict[str, Any] = self.page.evaluate(STATE)
        return folded

    @property
    def brief(self) -> dict[str, Any]:
        """The small part of the state: cheap to ask for again and again."""
        small: dict[str, Any] = self.page.evaluate(BRIEF)
        return small

    @property
    def notice(self) -> str:
        """The state the view says it is in, such as "live" or "trainer-gone"."""
        return str(self.page.evaluate(NOTICE))

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Wait until something is so, and drawn."""
        self.poll(until, what)
        drawn(self.page)

    def poll(self, until: Callable[[], bool], what: str) -> None:
        """Ask again and again: `wait_for_function` needs eval, which the page's policy refuses."""
        deadline = time.monotonic() + self.patience_seconds
        while not until():
            assert time.monotonic() < deadline, f"no {what}: {self.notice}, {self.brief}"
            self.page.wait_for_timeout(40)

    def wait_notice(self, name: str) -> None:
        """Wait until the view says of the run in its state that it is in state `name`."""
        self.wait(lambda: bool(self.page.evaluate(NOTICE_OF_THE_RUN) == name), name)

    def resize(self, width: int, height: int) -> None:
        """Have a window of this size, and every plot drawn for it."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.wait(lambda: bool(self.page.evaluate(FITS, width)), f"a page of {width} pixels")

    def row(self, key: str) -> Locator:
        """A run in the list, such as "live:some-run"."""
        return self.page.locator(f"run-list tr[data-key='{key}']")

    def choose(self, key: str) -> None:
        """Pick a run to be shown."""
        self.row(key).locator("a, button").click()
