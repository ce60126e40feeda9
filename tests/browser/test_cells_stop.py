"""Stop always stops, whatever the code does: on an isolated page and on a plain file host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.cell_reader import CellReader, one_page
from conftest import matrix
from slowness import slowness

CHAPTERS = ("what-full-fine-tuning-is", "forgetting")

STUBBORN = {
    "a busy loop": "while True: pass",
    "a long sleep": "import time\ntime.sleep(1e6)",
    "one long call": "sum(range(10**11))",
    "a loop that catches everything": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "a sleeper that catches everything": (
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException: pass"
    ),
    "endless printing": "while True: print('y')",
    "endless publishing": (
        "import js, json\nwhile True:\n"
        "    js.window.py_table_data = json.dumps({'headers': ['a'], 'rows': [[1]]})"
    ),
    "an endless await": "import asyncio\nawait asyncio.sleep(1e6)",
}
KEEPS_NAMES_WHEN_ISOLATED = {
    "a busy loop",
    "a long sleep",
    "endless printing",
    "endless publishing",
}


CASES = [("serve_site", what) for what in STUBBORN] + [
    # Without isolation every stop is the same termination.
    ("static_site", what)
    for what in ["a busy loop", "a loop that catches everything", "endless printing"]
]
USUAL = [
    ("serve_site", "a busy loop"),
    ("serve_site", "a loop that catches everything"),
    ("static_site", "endless printing"),
]


@pytest.fixture(scope="module", params=matrix(["serve_site", "static_site"], "serve_site"))
def reader(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[CellReader]:
    host: Any = request.getfixturevalue(request.param)
    with one_page(chromium, host.url) as reader:
        yield reader


@pytest.fixture(autouse=True)
def _leave_nothing_running(reader: CellReader) -> Iterator[None]:
    yield
    reader.page.evaluate("() => document.querySelectorAll('live-cell').forEach((c) => c.stop())")


@pytest.mark.parametrize(("reader", "what"), matrix(CASES, *USUAL), indirect=["reader"])
def test_stop_ends(reader: CellReader, what: str) -> None:
    isolated = reader.page.evaluate("crossOriginIsolated")
    kept = reader.run("kept = 41")
    assert kept["ok"], kept["error"]
    reader.start(STUBBORN[what])
    reader.page.wait_for_timeout(150)
    result = reader.stop()
    assert result["stopSeconds"] < 2 * slowness()
    assert (result["ok"], result["stopped"]) == (False, True)
    assert "KeyboardInterrupt" in result["error"]
    assert result["cleared"] is not (isolated and what in KEEPS_NAMES_WHEN_ISOLATED)
    message = reader.shown()["message"]
    assert (message is not None and "variables of all cells are gone" in message) is (
        result["cleared"]
    )
    after = reader.run("kept + 1")
    assert (after["errorType"] == "NameError") if result["cleared"] else after["value"] == "42"


@pytest.mark.matrix
def test_the_page_stays_smooth_while_a_cell_prints_for_ever(reader: CellReader) -> None:
    page = reader.page
    reader.run("1")
    page.evaluate("""() => {
      window.longTasks = [];
      window.begun = performance.now();
      new PerformanceObserver((list) => window.longTasks.push(...list.getEntries()))
        .observe({ type: 'longtask' });
    }""")
    reader.start("while True: print('y')")
    page.locator(f"#{reader.cell} .cell-overflow", has_text="200 kB").wait_for()
    assert len(str(reader.shown()["stdout"])) == 200_000
    assert reader.stop()["stopped"]
    page.wait_for_timeout(500)
    blocked, whole = page.evaluate("""() => [
      window.longTasks.reduce((sum, { duration }) => sum + duration, 0),
      performance.now() - window.begun,
    ]""")
    assert blocked < 0.9 * whole, "a busy test machine may stretch a task, a flood would block"


def test_a_waiting_run_is_forgotten_and_the_running_one_goes_on(reader: CellReader) -> None:
    results = reader.page.evaluate(
        """async ([first, second]) => {
          const [a, b] = [first, second].map((id) => document.getElementById(id));
          a.code = "import time\\ntime.sleep(0.5)\\n'done'";
          b.code = "'never'";
          const runs = [a.run(), b.run()];
          b.stop();
          return Promise.all(runs);
        }""",
        reader.cells[:2],
    )
    assert [result["stopped"] for result in results] == [False, True]
    assert results[0]["value"] == "'done'"


def test_stop_in_the_bar_ends_everything(reader: CellReader) -> None:
    reader.start("while True: pass")
    reader.page.locator("python-status button", has_text="Stop").click()
    assert reader.page.evaluate("window.runInTest")["stopped"]
    reader.wait_for_phase("stopped")


@pytest.mark.matrix
def test_the_cells_above_can_be_run_again_with_one_button(reader: CellReader) -> None:
    page = reader.page
    first, second = reader.cells[:2]
    reader.run("shared = 20")
    reader.cell = second
    reader.start("sum(range(10**11))")
    assert reader.stop()["cleared"]
    page.locator(f"#{second} .cell-message button", has_text="cells above").click()
    page.locator(f"#{first} .cell-status", has_text="Done").wait_for(timeout=90_000)
    assert reader.run("shared + 1")["value"] == "21"
    reader.cell = first


def test_run_all_runs_every_cell_in_order(reader: CellReader) -> None:
    page = reader.page
    page.evaluate(
        """(ids) => ids.forEach((id, index) => {
          const code = index === 0 ? "order = [0]" : `order.append(${index}); order`;
          document.getElementById(id).code = code;
        })""",
        reader.cells,
    )
    page.locator("python-status button", has_text="Run all").click()
    page.locator(f"#{reader.cells[-1]} .cell-status", has_text="Done").wait_for()
    assert reader.shown(reader.cells[-1])["value"] == str(list(range(len(reader.cells))))
