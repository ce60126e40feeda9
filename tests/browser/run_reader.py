"""A reader of the run view: opens the page and waits for what it shows. And writers to look at."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

import build
from browser.drawing import drawn

WRITER = build.ROOT / "tests" / "run" / "writer.py"
STATE = "() => document.querySelector('run-view').state"
BRIEF = """() => {
  const { run, lastSeq, step, status, gaps } = document.querySelector('run-view').state;
  return { run, lastSeq, step, status, gaps };
}"""
CHOOSER = "run-chooser label:first-of-type"
NOTICE = "() => document.querySelector('run-view').dataset.state ?? ''"
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


class RunReader:
    """Looks at the run view of one page; opens `url` first when it is given."""

    def __init__(self, page: Page, url: str = "") -> None:
        self.page = page
        self.patience_seconds = PATIENCE_SECONDS
        if url:
            page.goto(url)
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
        """Poll: `wait_for_function` needs eval, which the page's policy refuses."""
        deadline = time.monotonic() + self.patience_seconds
        while not until():
            assert time.monotonic() < deadline, f"no {what}: {self.notice}, {self.brief}"
            self.page.wait_for_timeout(40)
        drawn(self.page)

    def wait_notice(self, name: str) -> None:
        """Wait until the view says that it is in state `name`."""
        self.wait(lambda: self.notice == name, name)

    def choose(self, value: str) -> None:
        """Pick a run by the value of its option, such as "live:some-run"."""
        select = self.page.locator(f"{CHOOSER} select")
        select.locator(f"option[value='{value}']").wait_for(state="attached")
        select.select_option(value)
