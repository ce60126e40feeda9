"""Live cells in a real browser: baked equals live, nothing moves, wrong values are explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from accessibility import LISTEN, announced
from browser.cell_reader import BOXES, CellReader, one_page
from browser.drawing import laid_out
from conftest import matrix

WATCH_SHIFTS = """() => {
  window.shifts = [];
  const inText = ({ node }) => {
    const element = node?.closest ? node : node?.parentElement;
    return element?.closest('.article') && !element.closest('.cell-bar');
  };
  new PerformanceObserver((list) => {
    window.shifts.push(...list.getEntries().filter((e) => e.sources.some(inText)));
  }).observe({ type: 'layout-shift' });
}"""


@pytest.fixture(scope="module", params=matrix(["serve_site", "static_site"], "serve_site"))
def reader(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[CellReader]:
    with one_page(chromium, request.getfixturevalue(request.param).url) as reader:
        yield reader


def assert_same(live: Any, baked: Any, where: str) -> None:
    """Hold two shown results against each other: exactly, and numbers to their last digit or so.

    A cosine may end in another bit in WebAssembly than in the C library of the building machine.
    """
    assert type(live) is type(baked), where
    if isinstance(live, dict):
        assert live.keys() == baked.keys(), where
        for key in live:
            assert_same(live[key], baked[key], f"{where}.{key}")
    elif isinstance(live, list):
        assert len(live) == len(baked), where
        for index, (ours, theirs) in enumerate(zip(live, baked, strict=True)):
            assert_same(ours, theirs, f"{where}[{index}]")
    elif isinstance(live, float):
        assert live == pytest.approx(baked, rel=1e-14, abs=0), where
    else:
        assert live == baked, where


def test_every_cell_computes_what_was_baked_and_moves_nothing(
    reader: CellReader, request: pytest.FixtureRequest
) -> None:
    page = reader.page
    assert len(reader.cells) >= 2
    elsewhere = () if request.config.option.all else ("old-gradients",)  # test_demo_in_cells.py
    shown = {cell: reader.shown(cell) for cell in reader.cells if cell not in elsewhere}
    reader.run_as_is(reader.cells[0])  # Python is here; figures have their tools
    laid_out(page)
    before = page.evaluate(BOXES)
    page.evaluate(WATCH_SHIFTS)
    for cell, baked in shown.items():
        assert baked["note"] == "Computed beforehand"
        page.locator(f"#{cell}").scroll_into_view_if_needed()
        result = reader.run_as_is(cell)
        assert (result["ok"], result["error"]) == (True, None), cell
        live = reader.shown(cell)
        assert re.fullmatch(r"Computed in your browser in [\d.]+ s", live.pop("note")), cell
        assert_same({**live, "note": baked["note"]}, baked, cell)
        assert result["stdout"] == (baked["stdout"] or ""), cell
        assert result["value"] == baked["value"], cell
    assert page.evaluate(BOXES) == before
    assert page.evaluate("window.shifts.map((entry) => entry.value)") == []


SLIPS = """
import asyncio, builtins, gc, json, logging, math, random, statistics, sys, weakref
import unfrozen.units as units, unfrozen.plan, unfrozen.schedules
from unfrozen.model.catalogue import CATALOGUE
units.GIB = 1
units.GB = 1
CATALOGUE.clear()
unfrozen.plan.plan = lambda *_: 1 / 0
unfrozen.schedules.warmup_cosine = lambda *_: lambda step: 0.0
builtins.round = builtins.sum = builtins.max = lambda *_: 7
math.cos = math.sqrt = lambda _: 1.0
statistics.mean = lambda _: 7
json.dumps = lambda *_, **__: '[]'
json.JSONEncoder.encode = lambda *_: '[]'
random.random = lambda: 0.5
builtins.print = lambda *_: sys.stdout.write("forged")
builtins.open = None
sys.modules["dataclasses"] = None
class Late:
    def __del__(self): sys.stdout.write("late")
sys.leftover = late = Late()
gc.callbacks.append(lambda *_: sys.stdout.write("gc"))
logging.basicConfig(stream=sys.stdout, force=True)
asyncio.get_running_loop().call_later(0.05, lambda: sys.stdout.write("timer"))
sys.settrace(lambda *_: sys.stdout.write("trace") and None)
"""
"""What an edited cell may replace, or leave running; nothing of it reaches a cell as printed."""


def test_a_cell_as_printed_shows_the_articles_result_whatever_edited_cells_did(
    reader: CellReader,
) -> None:
    printed = ("memory-table", "optimizers", "rule-checked", "peaks", "schedules")
    for cell in printed:
        reader.page.evaluate("(id) => document.getElementById(id).reset()", cell)
        reader.run_as_is(cell)
    before = {cell: reader.shown(cell) for cell in printed}
    try:
        reader.run(SLIPS)
        for cell in printed:
            assert reader.run_as_is(cell)["ok"], cell
            live = reader.shown(cell)
            assert str(live.pop("note")).startswith("Computed in your browser in")
            assert live.items() <= before[cell].items(), cell
        assert reader.run("units.GIB")["value"] == "1"
        assert str(reader.shown()["note"]).startswith("Your version, computed in your browser in")
    finally:
        reader.page.locator("python-status .python-restart").click()


def test_an_edited_cell_sees_cells_run_as_printed_once_they_run_beside_it(
    reader: CellReader,
) -> None:
    reader.run("mine = 1\nglobals().pop('rows', None)")
    reader.run_as_is("memory-table")
    assert reader.run("rows", "rule-checked")["errorType"] == "NameError"
    message = reader.page.locator("#rule-checked .cell-message button")
    assert message.inner_text() == "Run the cells above among yours"
    message.click()
    reader.page.locator("#memory-table .cell-note", has_text="Your version").wait_for()
    assert reader.run("len(rows)", "rule-checked")["ok"]
    reader.page.evaluate("document.getElementById('rule-checked').reset()")


def test_the_table_follows_an_edit(reader: CellReader) -> None:
    reader.page.evaluate("document.getElementById('memory-table').reset()")
    code = reader.page.evaluate("document.getElementById('memory-table').code")
    assert "7e9" in code
    result = reader.run(code.replace("7e9", "8e9"), "memory-table")
    assert result["ok"]
    rows = reader.shown("memory-table")["table"][0]["rows"]
    assert rows[0][2] == "128.0 GB"


def test_output_value_and_error_appear_under_the_cell(reader: CellReader) -> None:
    result = reader.run("print('hello')\n6 * 7")
    assert (result["ok"], result["stdout"], result["value"]) == (True, "hello\n", "42")
    shown = reader.shown()
    assert (shown["stdout"], shown["value"], shown["error"]) == ("hello\n", "42", None)
    assert (shown["table"], shown["plots"]) == ([], [])
    result = reader.run("x = 1\n\nx / 0")
    assert not result["ok"]
    assert (result["errorType"], result["errorLine"]) == ("ZeroDivisionError", 3)
    assert "ZeroDivisionError: division by zero" in result["error"]
    assert reader.shown()["error"] == result["error"].rstrip("\n")


def test_a_traceback_leads_to_its_line(reader: CellReader) -> None:
    reader.run("def f():\n    return 1 / 0\nf()")
    page = reader.page
    page.locator(f"#{reader.cell} .cell-jump", has_text="line 2").click()
    page.locator(f"#{reader.cell} .cm-focused").wait_for()
    assert page.evaluate("getSelection().toString()") == "    return 1 / 0"


def test_a_cell_reads_the_run_that_the_page_shows(reader: CellReader) -> None:
    code = "import json\n[json.loads(line)['kind'] for line in open('run.jsonl')][-1]"
    assert reader.run(code)["value"] == "'run.end'"  # of a recording, where there is no run
    line = json.dumps({"run": "r", "seq": 0, "att": 0, "t": 1, "kind": "beat"})
    show = """(text) => {
      const detail = { kind: "file", file: new File([text], "events.jsonl") };
      const view = document.querySelector("run-view:not([data-own])");
      view.dispatchEvent(new CustomEvent("choose", { detail }));
    }"""
    reader.page.evaluate(show, f"{line}\nhalf a line\n")
    assert reader.run(code)["value"] == "'beat'"
    message = reader.page.locator(f"#{reader.cell} .cell-message")
    expect(message).to_have_text("One damaged line of the run is left out of run.jsonl.")


def test_cells_share_their_names_in_the_order_they_run(reader: CellReader) -> None:
    first, second = reader.cells[:2]
    results = reader.page.evaluate(
        """([first, second]) => {
          const [a, b] = [first, second].map((id) => document.getElementById(id));
          a.code = "import time\\ntime.sleep(0.2)\\nshared = 7";
          b.code = "shared * 6";
          return Promise.all([a.run(), b.run()]);
        }""",
        [first, second],
    )
    assert [result["value"] for result in results] == [None, "42"]


BAD_VALUES = [
    ("py_table_data", "{'headers': ['a'], 'rows': []}", "json.dumps"),
    ("py_table_data", "json.dumps([1, 2])", "py_table_data"),
    ("py_table_data", "json.dumps({'headers': ['a'], 'rows': [[1, 2]]})", "rows[0]"),
    ("py_table_data", "'{not json'", "py_table_data"),
    ("py_plot_data", "None", "json.dumps"),
    ("py_plot_data", "json.dumps({'title': 't'})", "a list of at most 50"),
    (
        "py_plot_data",
        "json.dumps([{'x_data': [1], 'lines': [{'label': 'a', 'data': [1, 2]}]}])",
        "lines[0].data",
    ),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD_VALUES)
def test_a_wrong_value_is_answered_in_the_reader_s_own_line(
    reader: CellReader, name: str, value: str, words: str
) -> None:
    result = reader.run(f"import js, json\n\njs.window.{name} = {value}\nprint('after')")
    assert not result["ok"]
    assert (result["errorType"], result["errorLine"]) == ("PublishError", 3)
    assert words in result["error"]
    assert "pycell" not in result["error"]
    assert result["stdout"] == ""


def test_markup_in_cells_titles_and_output_is_shown_as_text(reader: CellReader) -> None:
    html = "<img src=x onerror=\"document.title='broken in'\"><b>bold</b>"
    code = f"""
import js, json
html = {html!r}
js.window.py_table_data = json.dumps({{"headers": [html], "rows": [[html]], "caption": html}})
js.window.py_plot_data = json.dumps([{{"title": html, "x_label": html, "y_label": html,
    "x_data": [html, "b"], "lines": [{{"label": html, "data": [1, 2], "color": html}}]}}])
print(html)
html
"""
    title = reader.page.title()
    assert reader.run(code)["ok"]
    raised = reader.run(f"raise ValueError({html!r})")
    assert html in raised["error"]
    assert reader.page.locator(f"#{reader.cell} :is(img, b):not(figcaption b)").count() == 0
    assert html in str(reader.shown()["error"])
    assert html in reader.page.locator(f"#{reader.cell} data-table").inner_text()
    assert reader.page.title() == title


def test_a_long_table_scrolls_under_its_header_and_is_printed_whole(reader: CellReader) -> None:
    rows = "[[i, i / 7] for i in range(600)]"
    ran = reader.run(f"import js, json\njs.window.py_table_data = json.dumps({{'headers': "
                      f"['step', 'loss'], 'rows': {rows}}})")  # fmt: skip
    assert ran["ok"], ran["error"]
    page, box = reader.page, reader.page.locator(f"#{reader.cell} .table-scroll")
    height = page.evaluate("innerHeight")
    assert box.bounding_box()["height"] <= 0.8 * height + 1  # type: ignore[index]
    box.focus()
    page.keyboard.press("End")
    page.wait_for_function("(box) => box.scrollTop > 10_000", arg=box.element_handle())
    top = box.bounding_box()["y"]  # type: ignore[index]
    assert box.locator("thead th").first.bounding_box()["y"] == pytest.approx(top, abs=1)  # type: ignore[index]
    try:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert box.locator("tbody tr").count() == 600
        assert box.evaluate("(box) => box.clientHeight === box.scrollHeight")
    finally:
        page.emulate_media(media="screen")


def test_the_browser_is_out_of_reach_of_reader_code(reader: CellReader) -> None:
    for code in (
        "import js\njs.fetch",
        "from js import eval",
        "import js\njs.window.indexedDB",
        "import js\njs.window.SharedWorker",
        "import js\njs.window.BroadcastChannel",
        "import js\njs.window.navigator",
        "from pyodide.code import run_js\nrun_js('1')",
        "from pyodide_js import loadPackage",
        "import pyodide.http\nawait pyodide.http.pyfetch('/')",
        "from pyodide.ffi import to_js\nto_js([]).constructor.constructor('return fetch')()('/')",
        "import sys\ndel sys.modules['js']\nimport js",
    ):
        result = reader.run(code)
        assert not result["ok"], code


def test_time_and_asyncio_work_as_in_any_python(reader: CellReader) -> None:
    code = "import time, asyncio\nstart = time.perf_counter()\ntime.sleep(0.2)\n"
    assert reader.run(code + "time.perf_counter() - start > 0.19")["value"] == "True"
    assert reader.run("await asyncio.sleep(0.01, 'awaited')")["value"] == "'awaited'"
    assert reader.run("async def f(): return 5\nasyncio.run(f())")["value"] == "5"
    for code in (
        "input('name? ')",
        "import sys\nsys.stdin.read()",
        "open(0).read()",
        "import os\nos.read(0, 1)",
        "import getpass\ngetpass.getpass()",
    ):
        assert "in the cell and run it again" in reader.run(code)["error"], code
    assert "Cells have no shell" in reader.run("import os\nos.system('ls')")["error"]


@pytest.mark.parametrize(
    "code",
    [
        "from pyodide.http import pyfetch\nawait pyfetch('https://example.com')",
        "from pyodide.http import open_url\nopen_url('https://example.com')",
        "from pyodide.http import pyxhr\npyxhr.get('https://example.com')",
        "import urllib.request\nurllib.request.urlopen('https://example.com')",
        "import http.client\nhttp.client.HTTPConnection('example.com').request('GET', '/')",
        "import socket\nsocket.create_connection(('example.com', 80))",
        "import socket\nsocket.gethostbyname('example.com')",
        "import asyncio\nawait asyncio.open_connection('example.com', 80)",
        "import asyncio\nawait asyncio.start_server(print, '', 8000)",
        "import http.server\nhttp.server.HTTPServer(('', 8000), None)",
        "import requests",
    ],
)
def test_what_needs_a_network_says_that_cells_have_none(reader: CellReader, code: str) -> None:
    *_, last = reader.run(code)["error"].strip().splitlines()
    assert "Cells have no network: paste the data into the cell, or run" in last


@pytest.mark.matrix
def test_a_hundred_thousand_lines_are_capped_with_a_count(reader: CellReader) -> None:
    result = reader.run("for _ in range(150_000): print('y')")
    assert len(result["stdout"]) == 200_000
    shown = reader.shown()
    assert shown["stdout"] == result["stdout"]
    assert "100,000 more bytes" in shown["overflow"]
    json.dumps(result)


def test_all_cells_of_the_page_are_reported_in_a_few_words(reader: CellReader) -> None:
    page = reader.page
    page.evaluate("() => document.querySelectorAll('live-cell').forEach((c) => (c.code = '1'))")
    page.evaluate(LISTEN)
    page.get_by_role("button", name="Run all").click()
    expect(page.locator(".cell-value", has_text="1")).to_have_count(len(reader.cells))
    expect(page.locator(".cell-status", has_text="Done")).to_have_count(len(reader.cells))
    assert len(reader.cells) > 10
    assert len(announced(page)) <= 8
