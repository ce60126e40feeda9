"""`import numpy` in any cell: it comes when needed, once, and every way to fail is reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browser.cell_reader import CellReader
from browser.plain_host import ISOLATION, Host, hosted
from conftest import matrix, watched_page
from slowness import slowness

CHAPTERS = ("what-full-fine-tuning-is", "forgetting")

NUMPY = "import numpy as np\nint(np.arange(4).sum())"


@pytest.fixture(scope="module")
def reader(chromium: Browser, host: Host) -> Iterator[CellReader]:
    """A reader whose Python has no numpy yet: what fails comes first."""
    with watched_page(chromium.new_context()) as page:
        page.allowed_errors += ["404", "ERR_", "Failed to load"]  # type: ignore[attr-defined]
        reader = CellReader(page, host.url)
        assert reader.run("1 + 1")["ok"]
        assert host.asked_for_wheels() == []
        yield reader


def lose(host: Host) -> Callable[[], None]:
    name = f"pyodide/{host.wheel('numpy').name}"
    host.lose(name)
    return lambda: host.find(name)


def break_off(host: Host) -> Callable[[], None]:
    host.breaks_after = 1_000_000
    return lambda: setattr(host, "breaks_after", 0)


def damage(host: Host) -> Callable[[], None]:
    wheel = host.wheel("numpy")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    return lambda: void(wheel.write_bytes(whole))


def shorten(host: Host) -> Callable[[], None]:
    wheel = host.wheel("numpy")
    whole = wheel.read_bytes()
    wheel.write_bytes(b"<!doctype html><title>Not found</title>")
    return lambda: void(wheel.write_bytes(whole))


def void(_: object) -> None:
    """Let a lambda return nothing."""


FAILURES = {
    lose: "numpy could not be downloaded: the server answered 404 for pyodide/numpy-2.",
    break_off: "The download of numpy broke off. Check the connection and try again",
    damage: "numpy arrived damaged: its SHA-256 is not the one this page was built with.",
    shorten: "numpy arrived damaged: 39 of 2,916,023 bytes.",
}


@pytest.mark.parametrize("broken", matrix(FAILURES, lose))
def test_a_numpy_that_cannot_be_had_is_reported_at_its_import_and_the_page_goes_on(
    reader: CellReader, host: Host, broken: Callable[[Host], Callable[[], None]]
) -> None:
    mend = broken(host)
    result = reader.run(f"kept = 41\nprint('before')\n{NUMPY}")
    mend()
    assert FAILURES[broken] in result["error"]
    assert (result["errorType"], result["errorLine"]) == ("ImportError", 3)
    assert result["stdout"] == "before\n"
    assert reader.phase == "ready"
    assert reader.run("kept + 1")["value"] == "42"


def test_a_reader_who_is_offline_is_reported(reader: CellReader) -> None:
    reader.page.context.set_offline(True)
    assert "numpy could not be downloaded" in reader.run(NUMPY)["error"]
    assert reader.run("try:\n    import numpy\nexcept ImportError:\n    'without'")["ok"]
    reader.page.context.set_offline(False)


def assert_stop_ends_the_download(reader: CellReader, host: Host) -> None:
    """Python and its names go on."""
    host.pause_seconds = 0.5
    assert reader.run("kept = 41")["ok"]
    reader.start(NUMPY)
    reader.page.locator(
        "python-status .python-words", has_text=re.compile(r"numpy \d+%")
    ).wait_for()
    reader.page.locator(".cell-bar", has_text=re.compile(r"Loading numpy.*\d%")).wait_for()
    stopped = reader.stop()
    host.pause_seconds = 0
    assert stopped["stopSeconds"] < 0.5 * slowness()
    assert (stopped["ok"], stopped["stopped"], stopped["cleared"]) == (False, True, False)
    assert "You stopped the download of numpy" in str(reader.shown()["overflow"])
    assert reader.phase == "stopped"
    assert reader.run("kept + 1")["value"] == "42"


def test_stop_ends_the_download_and_keeps_the_names(reader: CellReader, host: Host) -> None:
    assert not reader.page.evaluate("crossOriginIsolated")
    assert_stop_ends_the_download(reader, host)


@pytest.mark.matrix
def test_stop_ends_it_on_an_isolated_page_too(page: Page, host: Host) -> None:
    host.headers = ISOLATION
    reader = CellReader(page, host.url)
    assert page.evaluate("crossOriginIsolated")
    assert_stop_ends_the_download(reader, host)
    host.headers = {}


def test_numpy_comes_with_its_import_visibly_and_only_once(reader: CellReader, host: Host) -> None:
    host.pause_seconds = 0.03
    host.asked.clear()
    reader.watch("python-status .python-words")
    first = reader.run(f"print('at once')\n{NUMPY}")
    assert (first["stdout"], first["value"], first["error"]) == ("at once\n", "6", None)
    words = [text for text in reader.said() if text.startswith("numpy ")]
    shares = [int(text.split()[1].rstrip("%")) for text in words if "%" in text]
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert reader.said()[-1] == "Python ready"
    assert first["seconds"] < 60, "a run's time is Python's, without the download"
    later = reader.run("np.ones(3).sum(), np.linalg.norm([3, 4])", reader.cells[1])
    assert later["value"] == "(np.float64(3.0), np.float64(5.0))"
    assert host.asked_for_wheels() == ["numpy"]


HOWEVER = {
    "in a function": "def f():\n    import numpy\n    return numpy\nf().__name__",
    "from a part of it": "from numpy.linalg import norm\nnorm.__module__.split('.')[0]",
    "by name": "import importlib\nimportlib.import_module('numpy').__name__",
    "by our own library": "from unfrozen.lab import optimizer\noptimizer.np.__name__",
}
MADE_UP = "import importlib\nimportlib.import_module('num' + 'py').__name__"


WAITING = {
    "by a module of the reader's": (
        "open('mine.py', 'w').write('import numpy as np')\nimport mine\nmine.np.__name__"
    ),
    "by a name made up": MADE_UP,
}


@pytest.mark.parametrize("how", matrix([*HOWEVER, *WAITING], "by a module of the reader's"))
def test_after_a_restart_numpy_comes_from_the_page_however_it_is_imported(
    reader: CellReader, host: Host, how: str
) -> None:
    assert reader.run(NUMPY)["value"] == "6"
    reader.restart()
    host.asked.clear()
    assert reader.run("import sys\n'numpy' in sys.modules")["value"] == "False"
    result = reader.run({**HOWEVER, **WAITING}[how])
    assert result["value"] == "'numpy'", result["error"]
    assert host.asked_for_wheels() == []


@pytest.mark.matrix
@pytest.mark.parametrize("how", HOWEVER)
def test_a_browser_that_cannot_wait_in_an_import_says_what_to_write(
    page: Page, site: Path, tmp_path: Path, how: str
) -> None:
    with hosted(site, tmp_path / "site") as host:
        worker = host.folder / "python" / "worker.js"
        worker.write_text(f"delete WebAssembly.Suspending;{worker.read_text()}")
        reader = CellReader(page, host.url)
        error = reader.run(MADE_UP)["error"]
        assert "Write `import numpy` in it and run it again" in error
        result = reader.run(HOWEVER[how])
        assert result["value"] == "'numpy'", result["error"]


def test_a_plot_may_hold_the_numbers_of_numpy(reader: CellReader) -> None:
    code = """
import json, js
import numpy as np
x = np.linspace(0, 1, 3, dtype=np.float32)
js.window.py_plot_data = json.dumps([{"title": "t", "x_label": "x", "y_label": "y", "x_data": x,
    "lines": [{"label": "a", "data": [np.float32(1.5), np.int64(2), np.float64(3)]},
              {"label": "b", "data": np.array([1, 2, 3], dtype=np.uint8)}]}])
js.window.py_table_data = json.dumps({"headers": ["n", "yes"], "rows": [[np.int32(7), np.True_]]})
"""
    result = reader.run(code)
    assert result["ok"], result["error"]
    (plot,) = reader.shown()["plots"]
    assert plot["x_data"] == [0, 0.5, 1]
    assert [line["data"] for line in plot["lines"]] == [[1.5, 2, 3], [1, 2, 3]]
    (table,) = reader.shown()["table"]
    assert table["rows"] == [[7, True]]
    refused = reader.run(code.replace("np.int64(2)", "np.nan"))
    assert "py_plot_data[0].lines[0].data[1]: got nan" in refused["error"]
    assert "None for a gap" in refused["error"]
