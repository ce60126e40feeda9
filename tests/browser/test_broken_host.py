"""Hosts that serve the site wrongly: other types, a file less, a worker of another version."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.cell_reader import CellReader
from browser.plain_host import Host

CHAPTERS = ("what-full-fine-tuning-is",)
UNKNOWN = "application/octet-stream"


@pytest.fixture
def page(page: Page) -> Page:
    """A page on which scripts may fail to come."""
    page.allowed_errors += ["404", "Failed to load", "MIME"]  # type: ignore[attr-defined]
    return page


def test_python_starts_whatever_types_its_files_have(page: Page, host: Host) -> None:
    host.types = dict.fromkeys((".wasm", ".zip", ".bin", ".json", ".jsonl", ".woff2"), UNKNOWN)
    assert CellReader(page, host.url).run("40 + 2")["value"] == "42"
    host.types = {".js": "text/plain"}
    page.goto(host.url)
    expect(page.locator("h1")).to_have_text("Unfrozen")
    expect(page.locator("live-cell .cell-output").first).to_be_visible()
    assert page.locator("python-status").get_attribute("data-phase") is None
    host.types = {}


@pytest.mark.parametrize("part", ["data-plot", "run-view", "page-run"])
def test_a_part_that_does_not_come_takes_no_other_with_it(
    page: Page, host: Host, part: str
) -> None:
    [script] = host.folder.glob(f"assets/{part}-*.js")
    name = script.relative_to(host.folder).as_posix()
    host.lose(name)
    cells = CellReader(page, host.url)
    host.find(name)
    assert page.evaluate("(tag) => customElements.get(tag) === undefined", part)
    assert page.locator("live-cell .cell-bar").count() == len(cells.cells)


def test_a_page_that_is_older_than_its_site_says_so(page: Page, host: Host) -> None:
    worker: Path = host.folder / "python" / "worker.js"
    ours = worker.read_text()
    theirs, count = re.subn(r'(version:\s*)"[0-9a-f]{16}"', r'\1"0123456789abcdef"', ours)
    assert count == 1
    cells = CellReader(page, host.url)
    worker.write_text(theirs)
    told = cells.run("40 + 2")["error"]
    assert told == (
        "This page and the Python of its site are of two versions. "
        "Reload the page; your edits are kept."
    )
    worker.write_text(ours)
    assert cells.run("40 + 2")["value"] == "42"
