"""A reader of live cells: opens the page, runs, edits and stops cells, and looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from browser.drawing import laid_out

RUN = """([id, code]) => {
  const cell = document.getElementById(id);
  cell.code = code;
  return cell.run();
}"""
START = """([id, code]) => {
  const cell = document.getElementById(id);
  cell.code = code;
  window.runInTest = cell.run();
}"""
WATCH = """(selector) => {
  window.said = [];
  const element = document.querySelector(selector);
  new MutationObserver(() => {
    const text = element.textContent;
    if (window.said.at(-1) !== text) window.said.push(text);
  }).observe(element, { subtree: true, childList: true, characterData: true });
}"""
BOXES = """() => [...document.querySelectorAll('.article :is(h2, p, live-cell, .cell-output > *)')]
  .filter((e) => e.checkVisibility() && !e.matches('.visually-hidden'))
  .map((e) => [e.tagName, e.getBoundingClientRect()])
  .map(([tag, box]) => [tag, box.top + scrollY, box.height])"""
SHOWN = """(id) => {
  const cell = document.getElementById(id);
  const text = (slot) => cell.querySelector(`.cell-output > ${slot}`)?.textContent ?? null;
  const data = (tag) => [...cell.querySelectorAll(`.cell-output > ${tag}`)].map((e) => e.data);
  return {
    stdout: text(".cell-stdout"), value: text(".cell-value"), error: text(".cell-error"),
    overflow: text(".cell-overflow"), message: text(".cell-message"), note: text(".cell-note"),
    table: data("data-table"), plots: data("data-plot"),
  };
}"""


class CellReader:
    """Drives one page; `cell` is the cell it works in, the first of the page unless given."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        page.locator("python-status[data-phase]").wait_for()
        laid_out(page)  # what is not has no text that `inner_text` reads
        self.cells: list[str] = page.evaluate(
            "() => [...document.querySelectorAll('live-cell')].map((cell) => cell.id)"
        )
        self.cell = self.cells[0]

    @property
    def phase(self) -> str:
        """What the top bar says Python is doing."""
        return str(self.page.locator("python-status").get_attribute("data-phase"))

    def wait_for_phase(self, phase: str, seconds: float = 90) -> None:
        """Wait until Python is in `phase`."""
        locator = self.page.locator(f"python-status[data-phase={phase}]")
        locator.wait_for(timeout=seconds * 1000)

    def run(self, code: str, cell: str = "") -> dict[str, Any]:
        """Run `code` in a cell and return what its promise gave."""
        result: dict[str, Any] = self.page.evaluate(RUN, [cell or self.cell, code])
        return result

    def run_as_is(self, cell: str) -> dict[str, Any]:
        """Run a cell with the code it has."""
        result: dict[str, Any] = self.page.evaluate(
            "(id) => document.getElementById(id).run()", cell
        )
        return result

    def start(self, code: str) -> None:
        """Begin a run and wait until Python works on it."""
        self.page.evaluate(START, [self.cell, code])
        self.wait_for_phase("running")

    def stop(self) -> dict[str, Any]:
        """Press Stop on the run that was started; return its result and how long that took."""
        result: dict[str, Any] = self.page.evaluate(
            """async (id) => {
              const start = performance.now();
              document.getElementById(id).stop();
              const result = await window.runInTest;
              return { ...result, stopSeconds: (performance.now() - start) / 1000 };
            }""",
            self.cell,
        )
        return result

    def watch(self, selector: str) -> None:
        """Note from now on every text that an element shows."""
        self.page.evaluate(WATCH, selector)

    def said(self) -> list[str]:
        """The texts noted since `watch`, in order."""
        texts: list[str] = self.page.evaluate("window.said")
        return texts

    def restart(self) -> None:
        """Have Python restarted, as Stop does to code that does not listen."""
        self.start("sum(range(10**11))")
        assert self.stop()["cleared"]

    def shown(self, cell: str = "") -> dict[str, Any]:
        """Everything a cell shows: texts, and the data of its tables and plots."""
        result: dict[str, Any] = self.page.evaluate(SHOWN, cell or self.cell)
        return result


@contextmanager
def one_page(chromium: Browser, url: str) -> Iterator[CellReader]:
    """One page for many tests; an uncaught error in it fails the module that used it."""
    page = chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(error.message))
    yield CellReader(page, url)
    page.close()
    assert errors == []
