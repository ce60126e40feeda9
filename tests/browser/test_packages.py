"""`import numpy` in any cell: it comes when it is needed, once, and every way to fail is told."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from browser.cell_reader import CellReader
from browser.plain_host import ISOLATION, Host
from conftest import matrix
from slowness import slowness

CHAPTERS = ("what-full-fine-tuning-is", "forgetting")

NUMPY = "import numpy as np\nint(np.arange(4).sum())"


@pytest.fixture
def reader(page: Page, host: Host) -> CellReader:
    page.allowed_errors += ["404", "ERR_", "Failed to load"]  # type: ignore[attr-defined]
    return CellReader(page, host.url)


def test_numpy_comes_with_its_first_import_visibly_and_only_once(
    reader: CellReader, host: Host
) -> None:
    host.pause_seconds = 0.03
    assert reader.run("1 + 1")["ok"]
    assert host.asked_for_wheels() == []
    reader.watch("python-status .python-words")
    first = reader.run(NUMPY)
    assert (first["value"], first["error"]) == ("6", None)
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


def test_the_cell_says_what_it_waits_for(reader: CellReader, host: Host) -> None:
    host.pause_seconds = 0.05
    assert reader.run("print('before')")["ok"]
    reader.watch(f"#{reader.cell} .cell-bar")
    assert reader.run("print('at once')\nimport numpy")["stdout"] == "at once\n"
    loading = [text for text in reader.said() if "Loading numpy" in text]
    assert any(text.endswith("%") for text in loading)
    assert "Done" in reader.said()[-1]


@pytest.mark.parametrize("isolated", matrix([True, False], True), ids=["isolated", "on any host"])
def test_stop_ends_the_download_and_keeps_the_names(page: Page, host: Host, isolated: bool) -> None:
    host.headers = ISOLATION if isolated else {}
    reader = CellReader(page, host.url)
    assert page.evaluate("crossOriginIsolated") is isolated
    assert reader.run("kept = 41")["ok"]
    host.pause_seconds = 0.5
    reader.start(NUMPY)
    page.locator("python-status .python-words", has_text=re.compile(r"numpy \d+%")).wait_for()
    stopped = reader.stop()
    assert stopped["stopSeconds"] < 0.5 * slowness()
    assert (stopped["ok"], stopped["stopped"], stopped["cleared"]) == (False, True, False)
    assert "You stopped the download of numpy" in str(reader.shown()["overflow"])
    assert reader.phase == "stopped"
    host.pause_seconds = 0
    assert reader.run(f"{NUMPY} + kept")["value"] == "47"
    assert host.asked_for_wheels() == ["numpy", "numpy"]


def test_a_restart_takes_numpy_from_the_page_and_only_when_it_is_used(
    reader: CellReader, host: Host
) -> None:
    assert reader.run(NUMPY)["value"] == "6"
    reader.restart()
    assert reader.run("import sys\n'numpy' in sys.modules")["value"] == "False"
    assert reader.run(NUMPY)["value"] == "6"
    assert host.asked_for_wheels() == ["numpy"]


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


MISSING = (lose, "numpy could not be downloaded: the server answered 404 for pyodide/numpy-2.")
DAMAGED = (damage, "numpy arrived damaged: its SHA-256 is not the one this page was built with.")


@pytest.mark.parametrize(
    ("broken", "words"),
    matrix(
        [
            MISSING,
            (break_off, "The download of numpy broke off. Check the connection and try again"),
            DAMAGED,
            (shorten, "numpy arrived damaged: 39 of 2,916,023 bytes."),
        ],
        MISSING,
        DAMAGED,
    ),
    ids=["missing", "broken off", "damaged", "another file"],
)
def test_a_numpy_that_cannot_be_had_is_told_at_its_import_and_the_page_goes_on(
    reader: CellReader, host: Host, broken: Callable[[Host], Callable[[], None]], words: str
) -> None:
    mend = broken(host)
    result = reader.run(f"kept = 41\nprint('before')\n{NUMPY}")
    assert words in result["error"]
    assert (result["errorType"], result["errorLine"]) == ("ImportError", 3)
    assert result["stdout"] == "before\n"
    assert reader.phase == "ready"
    mend()
    assert reader.run(f"{NUMPY} + kept")["value"] == "47"


def test_a_reader_who_is_offline_is_told_and_goes_on_when_back(reader: CellReader) -> None:
    assert reader.run("1")["ok"]
    reader.page.context.set_offline(True)
    assert "numpy could not be downloaded" in reader.run(NUMPY)["error"]
    assert reader.run("try:\n    import numpy\nexcept ImportError:\n    'without'")["ok"]
    reader.page.context.set_offline(False)
    assert reader.run(NUMPY)["value"] == "6"


HOWEVER = {
    "in a function": "def f():\n    import numpy\n    return numpy\nf().__name__",
    "from a part of it": "from numpy.linalg import norm\nnorm.__module__.split('.')[0]",
    "by name": "import importlib\nimportlib.import_module('numpy').__name__",
    "by our own library": "from unfrozen.lab import optimizer\noptimizer.np.__name__",
    "by a module of the reader's": (
        "open('mine.py', 'w').write('import numpy as np')\nimport mine\nmine.np.__name__"
    ),
}
MADE_UP = "import importlib\nimportlib.import_module('num' + 'py').__name__"


def test_numpy_is_found_however_it_is_imported(reader: CellReader, host: Host) -> None:
    for how, code in {**HOWEVER, "by a name made up": MADE_UP}.items():
        result = reader.run(code)
        assert result["value"] == "'numpy'", (how, result["error"])
        reader.restart()
    assert host.asked_for_wheels() == ["numpy"]


def test_a_browser_that_cannot_wait_in_an_import_says_what_to_write(page: Page, host: Host) -> None:
    worker = host.folder / "python" / "worker.js"
    worker.write_text(f"delete WebAssembly.Suspending;{worker.read_text()}")
    reader = CellReader(page, host.url)
    error = reader.run(MADE_UP)["error"]
    assert "Write `import numpy` in it and run it again" in error
    for how, code in HOWEVER.items():
        if "mine" not in code:
            result = reader.run(code)
            assert result["value"] == "'numpy'", (how, result["error"])
            reader.restart()
