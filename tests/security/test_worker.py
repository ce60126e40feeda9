"""A worker that says what it likes: the page takes what is its to say, refuses and counts the rest.

The worker of this page is one of ours, written for it. What it says is what a cell could say that
had turned Python's worker around.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.plain_host import hosted
from conftest import matrix
from security.visitor import Visitor, in_chromium, in_firefox

CHAPTERS = ("what-full-fine-tuning-is", "forgetting")

pytestmark = pytest.mark.slow

HOSTILE = Path(__file__).with_name("hostile-worker.js")
NODE = {"tag": "img", "props": {"src": "x", "onerror": "document.title='in'"}, "children": []}
TABLE = json.dumps({"headers": ["forged"], "rows": [["forged"]]})
DONE = {
    "type": "done", "value": "'forged'", "error": None, "notice": "", "guessed": "",
    "seconds": 0.1, "heapBytes": 0,
}  # fmt: skip
ERROR = {"type": "E", "message": "m", "traceback": "t", "line": None}
OTHER = {"run": 1_000_000, "cell": "forged"}


def own(**fields: Any) -> dict[str, Any]:
    """A message under the address of the run that is on."""
    return {"own": fields}


FORGED: dict[str, dict[str, list[Any]]] = {
    "output before it began": {"before": [own(type="stdout", text="forged")]},
    "a table before it began": {"before": [own(type="table", json=TABLE)]},
    "an end before it began": {"before": [own(**DONE)]},
    "a second beginning": {"during": [own(type="started")]},
    "output of another run": {"during": [{"type": "stdout", "text": "forged", **OTHER}]},
    "output of another cell": {"during": [own(type="stdout", text="forged", cell="forged")]},
    "a table of another cell": {"during": [own(type="table", json=TABLE, cell="forged")]},
    "the end of another run": {"during": [DONE | OTHER]},
    "the end of an earlier run": {"during": [own(**DONE, run=0)]},
    "output after its end": {"after": [own(type="stdout", text="forged")]},
    "a table after its end": {"after": [own(type="table", json=TABLE)]},
    "a second end": {"after": [own(**DONE)]},
    "ready again": {"during": [{"type": "ready"}]},
    "failed, late": {"during": [{"type": "failed", "reason": "forged"}]},
    "a package that was not wanted": {"during": [own(type="package", name="numpy", bytes=[1])]},
    "progress, late": {"during": [{"type": "progress", "ratio": 0.5}]},
    "an answer of the planner": {"during": [{"type": "answer", "call": 1, "json": "{}"}]},
    "events of a run": {"during": [{"type": "events", "run": "one", "lines": "{}"}]},
    "no object": {"during": ["forged", 5, None, [], True]},
    "no type": {"during": [{}, {"type": None}, {"type": {}}, {"type": "constructor"}]},
    "names of every object": {"during": [own(type="__proto__"), own(type="toString")]},
    "output that is an object": {"during": [own(type="stdout", text=NODE)]},
    "output that is a list": {"during": [own(type="stdout", text=["forged"])]},
    "output without end": {"during": [own(type="stdout", text="forged" * 100_000)]},
    "a table that is an object": {"during": [own(type="table", json=NODE)]},
    "a value that is an object": {"during": [own(**DONE | {"value": NODE})]},
    "a notice that is an object": {"during": [own(**DONE | {"notice": NODE})]},
    "a comparison that is an object": {"during": [own(**DONE | {"guessed": NODE})]},
    "a time that is text": {"during": [own(**DONE | {"seconds": "0.1"})]},
    "a time below zero": {"during": [own(**DONE | {"seconds": -1})]},
    "a size that is an object": {"during": [own(**DONE | {"heapBytes": NODE})]},
    "an error that is text": {"during": [own(**DONE | {"error": "forged"})]},
    "an error without a line": {"during": [own(**DONE | {"error": {"type": "E"}})]},
    "an error with a node": {"during": [own(**DONE | {"error": ERROR | {"traceback": NODE}})]},
    "an error with more": {"during": [own(**DONE | {"error": ERROR | {"html": "<img>"}})]},
    "a field more": {"during": [own(type="stdout", text="forged", html="<img src=x>")]},
    "a wish without a number": {"during": [own(type="fetch", name="numpy")]},
    "a wish for an object": {"during": [own(type="fetch", id=1, name=NODE)]},
}
DRAWN = {
    "a table of nodes": own(type="table", json=json.dumps({"headers": [NODE], "rows": []})),
    "a caption of a node": own(
        type="table", json=json.dumps({"headers": ["a"], "rows": [], "caption": NODE})
    ),
    "a cell of a node": own(type="table", json=json.dumps({"headers": ["a"], "rows": [[NODE]]})),
    "rows of another length": own(type="table", json='{"headers": ["a"], "rows": [["b", "c"]]}'),
    "a table that is a list": own(type="table", json="[]"),
    "a table that is no JSON": own(type="table", json="{"),
    "a table nested without end": own(type="table", json="[" * 100_000),
    "a plot of nodes": own(
        type="plots", json=json.dumps([{"title": NODE, "x_data": [1], "lines": []}])
    ),
    "plots that are one plot": own(type="plots", json=json.dumps({"x_data": [], "lines": []})),
    "a line that is longer": own(
        type="plots", json=json.dumps([{"x_data": [1], "lines": [{"data": [1, 2]}]}])
    ),
    "infinity": own(type="plots", json='[{"x_data": [1e999], "lines": []}]'),
    "plots beyond number": own(type="plots", json=json.dumps([{"x_data": [], "lines": []}] * 51)),
}
WANTED = {
    "a name of every object": "constructor",
    "a package that is not here": "pandas",
    "a wheel of another host": "http://127.0.0.1:9/stolen-1-py3-none-any.whl",
    "a page of the site": "index.html",
    "the server's runs": "/api/runs",
    "a wheel with a question": "stolen-1-py3-none-any.whl?token",
    "a script": "javascript:1",
}


@pytest.fixture(scope="module", params=matrix(["chromium", "firefox"], "chromium"))
def visitor(
    request: pytest.FixtureRequest, site: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Visitor, list[str]]]:
    """A reader of a page whose worker is hostile; and what its host was asked for."""
    with hosted(site, tmp_path_factory.mktemp("hostile") / "site") as host:
        worker = host.folder / "python" / "worker.js"
        [version] = re.findall(r'version: ?"([0-9a-f]{16})"', worker.read_text())
        worker.write_text(HOSTILE.read_text().replace("OURS", version))
        if request.param == "firefox":
            with in_firefox(host.url) as found:
                yield found, host.asked
        else:
            browser: Browser = request.getfixturevalue("chromium")
            with in_chromium(browser, host.url) as found:
                yield found, host.asked


def refused(visitor: Visitor) -> int:
    """How many messages the page says it has refused."""
    words = str(visitor.evaluate("() => document.querySelector('python-status').textContent"))
    return int(words.split("Refused so far: ")[1].split()[0]) if "Refused so far" in words else 0


@pytest.mark.parametrize("name", FORGED)
def test_what_is_not_its_to_say_is_refused_and_counted(
    visitor: tuple[Visitor, list[str]], name: str
) -> None:
    page, _ = visitor
    before = refused(page)
    result = page.run(json.dumps(FORGED[name]))
    assert (result["value"], result["stdout"]) == ("'honest'", "honest")
    page.evaluate("() => new Promise((end) => setTimeout(end, 30))")
    said = [message for messages in FORGED[name].values() for message in messages]
    assert refused(page) - before == len(said)
    page.assert_unharmed()


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_that_no_python_of_this_page_makes_is_not_drawn(
    visitor: tuple[Visitor, list[str]], name: str
) -> None:
    page, _ = visitor
    before = refused(page)
    result = page.run(json.dumps({"during": [DRAWN[name]]}))
    assert result["value"] == "'honest'"
    assert refused(page) == before + 1
    page.assert_unharmed()


@pytest.mark.parametrize("name", WANTED)
def test_what_it_wants_is_fetched_only_if_it_is_a_package_of_this_site(
    visitor: tuple[Visitor, list[str]], name: str
) -> None:
    page, asked = visitor
    before = len(asked)
    wish = own(type="fetch", id=1, name=WANTED[name])
    assert page.run(json.dumps({"during": [wish]}))["value"] == "'honest'"
    assert asked[before:] == []
    page.assert_unharmed()


def test_a_run_that_is_never_ended_is_stopped_by_its_reader(
    visitor: tuple[Visitor, list[str]],
) -> None:
    page, _ = visitor
    page.evaluate(
        "(id, code) => { const cell = document.getElementById(id); cell.code = code;"
        " window.unended = cell.run(); setTimeout(() => cell.stop(), 300); }",
        page.cell,
        json.dumps({"ends": False}),
    )
    result = page.evaluate("async () => window.unended")
    assert (result["stopped"], result["cleared"]) == (True, True)


def test_a_worker_that_goes_on_and_on_is_ended(visitor: tuple[Visitor, list[str]]) -> None:
    page, _ = visitor
    result = page.run(json.dumps({"during": [{"type": "ready"}] * 300, "ends": False}))
    assert result["cleared"]
    assert "messages of unknown form" in result["message"]
    assert page.run("{}")["value"] == "'honest'"
    page.assert_unharmed()
