"""The demo model in a cell: fetched when first imported, checked, kept, as on a machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser.cell_reader import CellReader, one_page
from browser.plain_host import Host

CHAPTERS = ("forgetting",)

CELL = "old-gradients"
UNDER_WAY = re.compile(r"gpu_runner [1-9]\d?%")
IMPORT = "from gpu_runner import demo\ndemo.card().name"


@pytest.fixture(scope="module")
def reader(chromium: Browser, host: Host) -> Iterator[CellReader]:
    """A reader whose Python has no model yet: what fails comes first."""
    with one_page(chromium, host.url) as reader:
        assert reader.run("1 + 1")["ok"]
        assert host.asked_for_wheels() == []
        yield reader


def wheel(host: Host) -> Path:
    return next(host.folder.glob("pyodide/gpu_runner_demo-*.whl"))


def test_one_that_arrives_damaged_is_refused(reader: CellReader, host: Host) -> None:
    whole = wheel(host).read_bytes()
    wheel(host).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "gpu_runner arrived damaged" in reader.run(IMPORT)["error"]
    wheel(host).write_bytes(whole)


def test_stop_ends_its_download(reader: CellReader, host: Host) -> None:
    host.pause_seconds = 0.5
    reader.start(IMPORT)
    reader.page.locator("python-status .python-words", has_text=UNDER_WAY).wait_for()
    assert reader.stop()["stopped"]
    assert "You stopped the download of gpu_runner" in str(reader.shown()["overflow"])
    host.pause_seconds = 0


def test_the_model_comes_with_its_first_import_visibly_and_only_once(
    reader: CellReader, host: Host
) -> None:
    host.asked.clear()
    host.pause_seconds = 0.005
    reader.watch("python-status .python-words")
    baked = reader.shown(CELL)
    result = reader.run_as_is(CELL)
    assert result["error"] is None
    assert reader.shown(CELL) == baked | {"note": reader.shown(CELL)["note"]}
    found = re.findall(r"cosine ([+-][\d.]+) +length +([\d.]+)", baked["stdout"] or "")
    (task, long), *old = [(float(cosine), float(length)) for cosine, length in found]
    assert task > 0.5
    assert len(old) == 4
    assert not [
        (cosine, length)
        for cosine, length in old
        if not (abs(cosine) < 0.02 and length < long / 80)
    ]
    addition, *others = (cosine for cosine, _ in old)
    assert addition < min(others) < 0, "the one that is going to break points the other way"
    assert any(re.fullmatch(r"gpu_runner \d+%", text) for text in reader.said())
    assert reader.run(IMPORT)["value"] == "'card.json'"
    assert sorted(host.asked_for_wheels()) == ["gpu_runner_demo", "numpy"]
    missing = reader.run("import gpu_runner.train.loop")
    assert "the rest needs PyTorch" in missing["error"]
