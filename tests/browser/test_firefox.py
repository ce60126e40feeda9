"""A reader with Firefox: the article, a plan carried to its page and back, and no network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from browser.plain_host import Host
from security.firefox import Firefox, FirefoxError, firefox, program

CHAPTERS = ("what-full-fine-tuning-is", "the-planner", "run-it-for-real")

MOVE = """() => {
  const figure = document.querySelector("#opening");
  const before = figure.textContent;
  const slider = figure.querySelector("input[type=range]");
  slider.value = slider.value === slider.max ? slider.min : slider.max;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  return before !== figure.textContent;
}"""
RUN = """async (code) => {
  const cell = document.querySelector("live-cell");
  cell.code = code;
  await cell.run();
  return cell.querySelector(".cell-output > .cell-value").textContent;
}"""
PLAN = "() => [location.hash, document.querySelector('memory-planner .verdict-title')?.textContent]"
NOTICE = "() => document.querySelector('run-view')?.dataset.state"
KEPT = """async () => {
  const names = ["pyodide.asm.wasm", "pyodide.asm.js", "pyodide.js", "python_stdlib.zip"];
  const paths = [...names.map((name) => `pyodide/${name}`), "python/unfrozen.zip"];
  const found = await Promise.all(paths.map((path) => caches.match(`${location.origin}/${path}`)));
  return paths.filter((_, place) => !found[place]);
}"""
BACK = """() => {
  const links = [...document.querySelectorAll(".top-bar a")];
  links.find((link) => link.textContent === "Article").click();
}"""
FOLLOW = "(selector) => document.querySelector(selector).click()"


@pytest.fixture
def reader() -> Iterator[Firefox]:
    """A Firefox that has seen nothing."""
    path = program()
    if path is None:
        pytest.skip("there is no Firefox here (Debian: apt-get install firefox-esr)")
    with firefox(path) as browser:
        yield browser


def wait(reader: Firefox, function: str, wanted: Any, seconds: float = 90.0) -> None:
    """Wait until a function of the page returns what is wanted."""
    deadline, found = time.monotonic() + seconds, None
    while found != wanted:
        assert time.monotonic() < deadline, f"{found} is not {wanted}"
        with suppress(FirefoxError):  # between two pages
            found = reader.evaluate(function)
        time.sleep(0.05)


def test_a_reader_with_firefox_runs_plans_comes_back_and_goes_on_without_a_network(
    reader: Firefox, kept_host: Host
) -> None:
    reader.go(kept_host.url)
    assert reader.evaluate(MOVE)
    assert reader.evaluate(RUN, "6 * 7") == "42"
    reader.evaluate("() => navigator.serviceWorker.ready.then(() => null)")
    wait(reader, "() => navigator.serviceWorker.controller !== null", True)
    reader.evaluate("() => document.querySelector('memory-planner').scrollIntoView()")
    wait(reader, "() => document.querySelector('memory-planner').dataset.standing", "baked")
    reader.evaluate(FOLLOW, "memory-planner [data-preset=qlora]")
    plan = "#planner?method=qlora"
    wait(reader, PLAN, [plan, "It fits."])
    reader.evaluate(FOLLOW, "memory-planner .mp-more")
    wait(reader, "() => location.pathname", "/planner/")
    wait(reader, PLAN, [plan, "It fits."])
    reader.evaluate(BACK)
    wait(reader, "() => location.pathname", "/")
    wait(reader, "() => location.hash", f"#&{plan[1:]}")
    wait(reader, KEPT, [])
    kept_host.shutdown()
    kept_host.server_close()
    reader.go(kept_host.url)
    assert reader.evaluate(RUN, "40 + 2") == "42"
    reader.go(f"{kept_host.url}runs/?recording=demo.jsonl")
    wait(reader, NOTICE, "finished")
    reader.go(f"{kept_host.url}planner/{plan}")
    wait(reader, PLAN, [plan, "It fits."])
