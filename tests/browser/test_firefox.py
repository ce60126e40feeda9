"""A reader with Firefox: a figure, cells, a plan carried to its page and back, runs, no network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from browser.plain_host import NOT_KEPT, Host
from browser.run_reader import written
from conftest import Server
from security.firefox import Firefox, FirefoxError, firefox, program
from slowness import slowness

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
STOP = """async () => {
  const cell = document.querySelector("live-cell");
  cell.code = "print('begun', flush=True)\\nwhile True: pass";
  const run = cell.run();
  const begun = () => cell.querySelector(".cell-output").textContent.includes("begun");
  while (!begun()) await new Promise((next) => setTimeout(next, 20));
  cell.stop();
  return [(await run).stopped, crossOriginIsolated];
}"""
NOTICE = "() => document.querySelector('run-view')?.dataset.state"
BACK = """() => {
  const links = [...document.querySelectorAll(".top-bar a")];
  links.find((link) => link.textContent === "Article").click();
}"""
FOLLOW = "(selector) => document.querySelector(selector).click()"


@pytest.fixture(scope="module")
def browser() -> Iterator[Firefox]:
    """The Firefox of this machine, started once."""
    path = program()
    if path is None:
        pytest.skip("there is no Firefox here (Debian: apt-get install firefox-esr)")
    with firefox(path) as started:
        yield started


@pytest.fixture
def reader(browser: Firefox, kept_host: Host) -> Iterator[Firefox]:
    """A reader of the article who has never seen its host."""
    browser.go(kept_host.url)
    yield browser
    browser.go("about:blank")


def wait(reader: Firefox, function: str, wanted: Any) -> None:
    """Wait until a function of the page returns what is wanted."""
    deadline, found = time.monotonic() + 90 * slowness(), None
    while found != wanted:
        assert time.monotonic() < deadline, f"{found} is not {wanted}"
        with suppress(FirefoxError):  # between two pages
            found = reader.evaluate(function)
        time.sleep(0.05)


def keep(reader: Firefox) -> None:
    """Wait until the pages are kept in this browser, and isolated by what keeps them."""
    reader.evaluate("() => navigator.serviceWorker.ready.then(() => null)")
    wait(reader, "() => navigator.serviceWorker.controller !== null", True)


def plan(reader: Firefox) -> str:
    """Choose QLoRA in the article's planner; where that plan is, in an address."""
    reader.evaluate("() => document.querySelector('memory-planner').scrollIntoView()")
    wait(reader, "() => document.querySelector('memory-planner').dataset.standing", "baked")
    reader.evaluate(FOLLOW, "memory-planner [data-preset=qlora]")
    wait(reader, PLAN, ["#planner?method=qlora", "It fits."])
    return "#planner?method=qlora"


def test_the_first_figure_follows_its_slider(reader: Firefox) -> None:
    assert reader.evaluate(MOVE)


def test_stop_ends_a_loop_on_a_plain_page_and_on_an_isolated_one(
    reader: Firefox, kept_host: Host
) -> None:
    assert reader.evaluate(STOP) == [True, False]
    assert reader.evaluate(RUN, "6 * 7") == "42"
    keep(reader)
    reader.go(kept_host.url)
    assert reader.evaluate(STOP) == [True, True]
    assert reader.evaluate(RUN, "6 * 7") == "42"


def test_a_plan_goes_to_its_page_and_back(reader: Firefox) -> None:
    planned = plan(reader)
    reader.evaluate(FOLLOW, "memory-planner .mp-more")
    wait(reader, "() => location.pathname", "/x/planner/")
    wait(reader, PLAN, [planned, "It fits."])
    reader.evaluate(BACK)
    wait(reader, "() => location.pathname", "/x/")
    wait(reader, "() => location.hash", f"#&{planned[1:]}")


def test_the_printed_address_of_a_run_opens_it(browser: Firefox, serve_site: Server) -> None:
    written(serve_site.runs, "mine", "--steps", "4", "--end", "finished")
    browser.go(f"{serve_site.origin}/runs/?run=mine#t={serve_site.token}")
    wait(browser, NOTICE, "finished")
    assert browser.evaluate("() => [location.search, location.hash]") == ["?run=mine", ""]
    browser.go("about:blank")


def test_without_a_network_a_cell_runs_a_recording_plays_and_a_plan_opens(
    reader: Firefox, kept_host: Host
) -> None:
    keep(reader)
    assert reader.evaluate(RUN, "6 * 7") == "42"
    planned = plan(reader)
    wait(reader, NOT_KEPT, [])
    reader.go("about:blank")
    kept_host.shutdown()
    kept_host.server_close()
    reader.go(kept_host.url)
    assert reader.evaluate(RUN, "40 + 2") == "42"
    reader.go(f"{kept_host.url}runs/?recording=demo.jsonl")
    wait(reader, NOTICE, "finished")
    reader.go(f"{kept_host.url}planner/{planned}")
    wait(reader, PLAN, [planned, "It fits."])
