"""A session: output and publishing belong to a run until it ends; monkeypatches are reported."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from awaited import awaited
from pycell.browser import Session
from pycell.cell import streams
from pycell.packages import Packages
from pycell.window import make_js_module

TASK = """
import asyncio, js, json
async def later():
    await asyncio.sleep(0)
    {}
task = asyncio.ensure_future(later())
"""
TABLE = "js.window.py_table_data = json.dumps({'headers': ['a'], 'rows': [[1]]})"
LATE = "had left running printed"


class Reader:
    """Runs cells of one session in one event loop, as the page does, and keeps what each shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.printed: list[str] = []
        self.published: list[str] = []
        self.session = Session(
            self.printed.append,
            lambda _name, text: self.published.append(text),
            Packages([], self.fetch, lambda: False),
        )
        monkeypatch.setitem(sys.modules, "js", make_js_module(self.session.publish))

    @staticmethod
    async def fetch(_name: str) -> str:
        """Have no package."""
        return "none"

    async def run(self, source: str) -> dict[str, Any]:
        """Run a cell; what it printed and published, its error and its notice."""
        self.printed.clear()
        self.published.clear()
        said: list[Any] = []
        await self.session.run("cell", source, lambda *parts: said.extend(parts))
        value, error, message, _traceback, _line, notice, _guessed = said
        return {
            "value": value, "error": error, "message": message, "notice": notice,
            "printed": "".join(self.printed), "published": [*self.published],
        }  # fmt: skip

    def run_all(self, *sources: str) -> list[dict[str, Any]]:
        """Run cells one after another in one loop, each in a task of its own."""

        async def one_by_one() -> list[dict[str, Any]]:
            results = []
            for source in sources:
                results.append(await asyncio.ensure_future(self.run(source)))
            return results

        with redirect_stdout(streams), redirect_stderr(streams):  # also between two runs
            return awaited(one_by_one())


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    logger = logging.getLogger()
    handlers = logger.handlers[:]
    yield Reader(monkeypatch)
    logger.handlers[:] = handlers


def test_a_task_prints_under_the_cell_that_made_it_while_that_runs(reader: Reader) -> None:
    (result,) = reader.run_all(TASK.format("print('mine')") + "await task")
    assert result["printed"] == "mine\n"
    assert result["notice"] == ""


@pytest.mark.parametrize(
    "made",
    [
        TASK.format("print('late')"),
        TASK.format("sys.stderr.write('late')").replace("import asyncio", "import sys, asyncio"),
        "import asyncio\nasyncio.get_running_loop().call_soon(print, 'late')",
        "import asyncio\nasyncio.get_running_loop().call_later(0.001, print, 'late')",
        "import asyncio, sys\nasyncio.get_running_loop().call_soon(sys.stdout.write, 'late')",
    ],
)
def test_what_an_earlier_run_left_running_prints_under_no_other_cell(
    reader: Reader, made: str
) -> None:
    second = "import asyncio\nprint('own')\nawait asyncio.sleep(0.01)"
    _, result = reader.run_all(made, second)
    assert result["printed"] == "own\n"
    assert LATE in result["notice"]


def test_what_it_publishes_is_refused_with_a_reason(reader: Reader) -> None:
    second = "import asyncio\nawait asyncio.sleep(0.01)\nrepr(task.exception())"
    _, result = reader.run_all(TASK.format(TABLE), second)
    assert result["published"] == []
    assert "has ended, so its cell cannot show the result" in result["value"]
    assert LATE in result["notice"]


def test_a_stream_a_window_or_a_log_handler_that_was_kept_works_for_the_next_cell(
    reader: Reader,
) -> None:
    first = (
        "import sys, js, json, logging\nout, window = sys.stdout, js.window\n"
        "logging.basicConfig(stream=sys.stderr, level=logging.INFO, force=True)"
    )
    second = (
        "out.write('kept\\n'); logging.info('told')\n"
        "window.py_table_data = json.dumps({'headers': ['a'], 'rows': [[1]]})"
    )
    _, result = reader.run_all(first, second)
    assert result["printed"] == "kept\nINFO:root:told\n"
    assert len(result["published"]) == 1
    assert result["notice"] == ""


def test_a_session_whose_modules_are_gone_goes_no_further(reader: Reader) -> None:
    kept = sys.modules.copy()
    try:
        with pytest.raises(SystemError, match="cells have removed"):
            reader.run_all(
                "import sys\nfor n in [*sys.modules]:\n  if n != 'sys': del sys.modules[n]"
            )
    finally:
        sys.modules.update(kept)
