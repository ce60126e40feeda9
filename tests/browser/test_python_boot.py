"""Python starts lazily and truthfully; every way to fail is reported, and Retry gets out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.cell_reader import CellReader
from browser.plain_host import Host, hosted
from conftest import Server

CHAPTERS = ("what-full-fine-tuning-is",)

COMPILED_HERE = """
import sys
from zipimport import zipimporter
zipped = [m for m in sys.modules.values() if isinstance(m.__spec__ and m.__loader__, zipimporter)]
assert len(zipped) > 100
[m.__name__ for m in zipped if not m.__file__.endswith(".pyc")]
"""


@pytest.fixture
def host(site: Path, tmp_path: Path) -> Iterator[Host]:
    """A host for one test alone: what a browser has once had, it keeps."""
    with hosted(site, tmp_path / "site") as server:
        yield server


@pytest.fixture
def reader(page: Page, host: Host) -> CellReader:
    page.allowed_errors += ["404", "ERR_", "Failed to load", "Refused", "violates"]  # type: ignore[attr-defined]
    return CellReader(page, host.url)


FILES = {"pyodide/pyodide.asm.wasm", "pyodide/python_stdlib.zip", "python/unfrozen.zip"}
PARTS = ("pyodide/pyodide.js", "pyodide/pyodide.asm.js")
CELL_BAR = "live-cell .cell-bar"
PART_IS_MISSING = "A part of Python could not be loaded"


def test_whatever_cannot_be_had_is_reported_for_a_run_and_retry_works_once_it_is_there(
    reader: CellReader, host: Host
) -> None:
    page = reader.page

    def refused() -> str:
        """Why a run had no Python; the bar and the cell say the same."""
        error = str(reader.run("40 + 2")["error"])
        assert reader.phase == "failed"
        assert page.locator("python-status .python-reason").inner_text() in error
        assert str(reader.shown()["message"]).startswith(error)
        return error

    page.context.set_offline(True)
    with page.expect_event("requestfailed"):
        page.locator(CELL_BAR).first.hover()
    expect(page.locator("python-status")).to_have_attribute("data-phase", "idle")
    assert "Check the connection" in refused()
    page.context.set_offline(False)
    missing = {*FILES, *PARTS, "python/worker.js", "python/loader.js"}
    for name in missing:
        host.lose(name)
    assert PART_IS_MISSING in refused()
    host.find("python/loader.js")
    while missing & FILES:  # they are asked for together
        name = re.search(r"the server answered 404 for ([\w./]+\w)", refused())
        assert name
        missing.remove(name[1])
        host.find(name[1])
    assert "its script could not be loaded" in refused()
    host.find("python/worker.js")
    page.locator("python-status .python-retry").click()
    for name in PARTS:
        expect(page.locator("python-status .python-reason")).to_contain_text(PART_IS_MISSING)
        assert PART_IS_MISSING in refused()
        host.find(name)
    page.locator(f"#{reader.cell} .cell-message button", has_text="Try again").click()
    page.locator(f"#{reader.cell} .cell-value", has_text="42").wait_for()
    assert reader.shown()["message"] is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pyodide/pyodide.asm.wasm", "This browser refused to compile WebAssembly"),
        ("pyodide/python_stdlib.zip", "python_stdlib.zip is not whole, or of another version"),
        ("python/unfrozen.zip", "unfrozen.zip is not whole, or of another version"),
        ("pyodide/pyodide.asm.js", PART_IS_MISSING),
        ("python/worker.js", "Python could not start"),
        ("python/loader.js", PART_IS_MISSING),
        ("python/snapshot.bin", None),
    ],
)
def test_a_file_that_broke_off_is_reported_and_retry_works_once_it_is_whole(
    reader: CellReader, host: Host, name: str, told: str | None
) -> None:
    file = host.folder / name
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b"(", 0, len(whole) // 2) + 1])  # no end of a statement
    result = reader.run("40 + 2")
    assert result["value"] == ("42" if told is None else None)
    assert told is None or told in result["error"]
    file.write_bytes(whole)
    assert reader.run("40 + 3")["value"] == "43"


@pytest.mark.matrix
def test_a_policy_that_forbids_webassembly_is_reported(reader: CellReader, host: Host) -> None:
    host.headers["Content-Security-Policy"] = "script-src 'self'; worker-src 'self' blob:"
    reader.page.reload()
    result = reader.run("40 + 2")
    assert "refused to compile WebAssembly" in result["error"]
    assert reader.phase == "failed"


@pytest.mark.matrix
def test_a_host_that_forbids_workers_of_a_blob_gets_one_of_its_script(
    reader: CellReader, host: Host
) -> None:
    host.headers["Content-Security-Policy"] = "worker-src 'self'"
    reader.page.reload()
    assert reader.run("40 + 2")["value"] == "42"


def test_python_is_fetched_at_the_first_run_and_neither_before_nor_at_a_restart_nor_later(
    page: Page, serve_site: Server
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    received = note_received(page)
    reader = CellReader(page, serve_site.url)
    page.wait_for_timeout(500)
    assert reader.phase == "idle"
    assert not [url for url in asked if "pyodide" in url or "worker" in url]
    reader.watch("python-status .python-words")
    assert reader.run("1 + 1")["value"] == "2"
    said = reader.said()
    shares = [int(text.split()[1].rstrip("%")) for text in said if text.startswith("Loading")]
    assert shares == sorted(shares)
    assert shares[0] < 50
    assert shares[-1] >= 90
    assert said[-3:] == ["Python starting", "Python running", "Python ready"]
    assert_it_compiles_nothing(reader)
    reader.start("sum(range(10**11))")
    asked.clear()
    assert reader.stop()["cleared"]
    assert reader.run("1")["ok"]
    assert not [url for url in asked if url.endswith((".wasm", ".zip"))]
    page.goto("about:blank")
    first = sum(received)
    received.clear()
    assert CellReader(page, serve_site.url).run("40 + 2")["value"] == "42"
    page.goto("about:blank")
    assert sum(received) < first / 20, f"{first:.0f} bytes, then {sum(received):.0f}"


def note_received(page: Page) -> list[float]:
    """Note from now on how many bytes come, file by file."""
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    received: list[float] = []
    network.on("Network.loadingFinished", lambda end: received.append(end["encodedDataLength"]))
    return received


def assert_it_compiles_nothing(reader: CellReader) -> None:
    """Every module comes compiled, and its source is still at hand."""
    assert reader.run(COMPILED_HERE)["value"] == "[]"
    source = "import inspect, typing\ninspect.getsource(typing.cast).splitlines()[0]"
    assert reader.run(source)["value"] == "'def cast(typ, val):'"


KEPT = """async () => {
  const store = await caches.open("unfrozen-python");
  return (await store.keys()).map(({ url }) => url);
}"""
SPOIL = """async () => {
  const store = await caches.open("unfrozen-python");
  const [request] = await store.keys();
  await store.put(request, new Response(new Uint8Array(40_000_000)));
}"""
DRAWN = "import random\nrandom.random()"
HURRY = """const now = performance.now.bind(performance);
performance.now = () => now() * (sessionStorage.pace ?? 100);"""


def kept(reader: CellReader) -> list[str]:
    """The snapshots in the browser's store, once there is one."""
    found: list[str] = []
    for _ in range(200):
        found = reader.page.evaluate(KEPT)
        if found:
            break
        reader.page.wait_for_timeout(50)
    return found


def test_a_pointer_on_a_cell_starts_python_which_is_kept_for_the_next_and_replaced_if_spoiled(
    reader: CellReader, host: Host
) -> None:
    page = reader.page
    page.add_init_script(HURRY)  # the download seems slow: no snapshot of the site is asked for
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(host.url)))
    reader = CellReader(page, host.url)
    page.locator(CELL_BAR).first.hover()
    expect(page.locator("python-status")).to_have_attribute("data-phase", "ready")
    first = reader.run(DRAWN)["value"]
    (name,) = kept(reader)
    assert re.fullmatch(r".*/python/snapshot-[0-9a-f]{16}", name)
    page.locator("python-status .python-restart").click()
    assert reader.run(DRAWN)["value"] != first, "random numbers repeat themselves"
    assert reader.run("import numpy\nint(numpy.arange(4).sum())")["value"] == "6"
    page.evaluate(SPOIL)
    again = CellReader(page, host.url)
    assert again.run("40 + 2")["value"] == "42"
    assert kept(again) == [name]
    assert CellReader(page, host.url).run(DRAWN)["value"] not in (first, None)
    assert "python/snapshot.bin" not in asked
    page.evaluate(
        "async () => { await caches.delete('unfrozen-python'); sessionStorage.pace = 0.01; }"
    )
    fast = CellReader(page, host.url)
    assert fast.run("import random, statistics\nrandom.random()")["value"] not in (first, None)
    assert "python/snapshot.bin" in asked
    assert kept(fast) == [name]
    assert fast.run("import sys\n'unfrozen.ask' in sys.modules")["value"] == "True"  # of its memory
    slept = "import time\ntime.sleep(0.01)\n'slept'"  # crashes in the memory of a Node without JSPI
    assert fast.run(slept)["value"] == "'slept'"
    assert_it_compiles_nothing(fast)


SAVING_DATA = "Object.defineProperty(navigator, 'connection', { value: { saveData: true } });"
WITHOUT_STORAGE = """
for (const name of ["localStorage", "sessionStorage", "indexedDB", "caches"])
  Object.defineProperty(self, name, { get() { throw new DOMException(name, "SecurityError"); } });
"""


def test_a_reader_who_saves_data_and_stores_nothing_gets_python_when_a_cell_is_run(
    reader: CellReader, host: Host
) -> None:
    page = reader.page
    page.add_init_script(SAVING_DATA + WITHOUT_STORAGE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(host.url)))
    CellReader(page, host.url)
    page.locator(CELL_BAR).first.hover()
    page.wait_for_timeout(1000)
    assert reader.phase == "idle"
    assert not [path for path in asked if path.startswith("pyodide/")]
    assert reader.run("40 + 2")["value"] == "42"
    page.locator("theme-toggle button").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.locator("python-status .python-restart").click()
    assert reader.run("40 + 3")["value"] == "43"
