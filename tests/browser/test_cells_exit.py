"""Whatever ends Python is reported; a restart is offered; the tab gets its memory back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Request

from browser.cell_reader import CellReader, one_page
from conftest import matrix

CHAPTERS = ("what-full-fine-tuning-is", "forgetting")

LONG = """
import time
end = time.monotonic() + 9
while time.monotonic() < end: pass
"done"
"""
WAITING = "import asyncio\nawait asyncio.sleep(9)\n'done'"


@pytest.fixture(scope="module", params=matrix(["serve_site", "static_site"], "serve_site"))
def reader(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[CellReader]:
    host: Any = request.getfixturevalue(request.param)
    with one_page(chromium, host.url) as reader:
        yield reader


def test_the_first_run_says_what_it_loads_before_it_does(reader: CellReader) -> None:
    cost = reader.page.locator(f"#{reader.cell} .cell-cost")
    if reader.phase == "idle":
        said = re.fullmatch(r"First Run: (\d+)–(\d+)\sMB", cost.inner_text())
        assert said
        sent: list[Request] = []
        reader.page.on("requestfinished", lambda request: sent.append(request))
        assert reader.run("1")["ok"]
        files = [one for one in sent if re.search("/(pyodide|python)/", one.url)]
        megabytes = sum(one.sizes()["responseBodySize"] for one in files) / 1e6
        assert any(float(one) == pytest.approx(megabytes, abs=0.6) for one in said.groups())
    assert reader.run("1")["ok"]
    assert not cost.is_visible()


def test_python_can_be_restarted_at_any_time(reader: CellReader) -> None:
    page = reader.page
    assert reader.run("kept = 1")["ok"]
    note = page.locator("python-status .python-note")
    page.set_viewport_size({"width": 320, "height": 700})
    for key in ("Escape", "Enter"):
        page.locator("python-status .python-restart").click()
        assert "variables of all cells are gone" in note.inner_text()
        box = note.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
        if key == "Enter":
            note.get_by_role("button", name="Close").focus()
        page.keyboard.press(key)
        assert not note.is_visible()
    page.set_viewport_size({"width": 1280, "height": 720})
    assert reader.run("kept")["errorType"] == "NameError"
    reader.start("while True: pass")
    page.locator("python-status .python-restart").click()
    ended = page.evaluate("window.runInTest")
    assert (ended["stopped"], ended["cleared"]) == (True, True)
    assert "You restarted Python." in str(reader.shown()["message"])
    assert not note.is_visible(), "the cell says it"
    assert reader.run("6 * 7")["value"] == "42"


@pytest.mark.matrix
@pytest.mark.parametrize("source", [LONG, WAITING], ids=["computing", "waiting"])
def test_an_honest_run_is_not_taken_for_dead(reader: CellReader, source: str) -> None:
    result = reader.run(source)
    assert (result["value"], result["cleared"]) == ("'done'", False)


def test_a_death_runs_the_cells_above_again_with_one_button(reader: CellReader) -> None:
    page = reader.page
    first, second = reader.cells[:2]
    assert reader.run("shared = 20")["ok"]
    reader.cell = second
    assert reader.run("import os\nos._exit(1)")["cleared"]
    assert "exit code 1" in str(reader.shown()["message"])
    assert page.locator(f"#{second} .cell-status").inner_text() == "Python ended"
    page.locator(f"#{second} .cell-message button", has_text="cells above").click()
    page.locator(f"#{first} .cell-status", has_text="Done").wait_for(timeout=90_000)
    assert reader.run("shared + 1")["value"] == "21"
    reader.cell = first


def test_a_python_that_dies_between_two_runs_is_reported_in_the_bar(reader: CellReader) -> None:
    code = "import asyncio, os\nasyncio.get_running_loop().call_later(0.2, os._exit, 4)\nNone"
    assert reader.run(code)["ok"]
    reader.wait_for_phase("stopped")
    assert "exit code 4" in reader.page.locator(".python-reason").inner_text()
    assert reader.run("6 * 7")["value"] == "42"


@pytest.mark.matrix
@pytest.mark.parametrize("reader", ["serve_site"], indirect=True)  # once: it fills 4 GB
def test_memory_that_a_run_has_filled_is_given_back(reader: CellReader) -> None:
    result = reader.run("x = []\nwhile True: x.append(bytearray(10**8))")
    assert result["errorType"] == "MemoryError"
    assert result["cleared"]
    assert "GB of memory" in str(reader.shown()["message"])
    assert reader.run("len(bytearray(15 * 10**8))")["value"] == "1500000000"


@pytest.mark.matrix
def test_a_request_for_too_much_at_once_keeps_the_names(reader: CellReader) -> None:
    reader.restart()  # what earlier tests have taken does not shrink
    assert reader.run("kept = 1")["ok"]
    result = reader.run("[0] * 2**29")
    assert (result["errorType"], result["cleared"]) == ("MemoryError", False)
    assert reader.run("kept")["value"] == "1"
