"""Python starts lazily and truthfully; every way to fail is told, and Retry gets out of it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from browser.cell_reader import CellReader
from browser.plain_host import Host
from conftest import Server, matrix

CHAPTERS = ("what-full-fine-tuning-is",)

COMPILED_HERE = """
import sys
from zipimport import zipimporter
zipped = [m for m in sys.modules.values() if isinstance(m.__spec__ and m.__loader__, zipimporter)]
assert len(zipped) > 100
[m.__name__ for m in zipped if not m.__file__.endswith(".pyc")]
"""


@pytest.fixture
def reader(page: Page, host: Host) -> CellReader:
    page.allowed_errors += ["404", "ERR_", "Failed to load", "Refused", "violates"]  # type: ignore[attr-defined]
    return CellReader(page, host.url)


def fail_and_retry(reader: CellReader, words: str, mend: Any) -> None:
    """Run a cell that cannot get Python, read why, mend the cause, press Retry and run again."""
    page = reader.page
    result = reader.run("40 + 2")
    assert not result["ok"]
    assert words in result["error"]
    assert reader.phase == "failed"
    assert words in page.locator("python-status .python-reason").inner_text()
    assert words in str(reader.shown()["message"])
    mend()
    page.locator("python-status .python-retry").click()
    reader.wait_for_phase("ready")
    assert reader.run("40 + 2")["value"] == "42"
    assert reader.shown()["message"] is None


@pytest.mark.parametrize(
    "name",
    matrix(
        ["pyodide/pyodide.asm.wasm", "pyodide/python_stdlib.zip", "python/unfrozen.zip"],
        "python/unfrozen.zip",
    ),
)
def test_a_missing_file_is_named_and_retry_works_once_it_is_there(
    reader: CellReader, host: Host, name: str
) -> None:
    host.lose(name)
    fail_and_retry(reader, f"the server answered 404 for {name}", lambda: host.find(name))


@pytest.mark.parametrize(
    "name", matrix(["pyodide/pyodide.mjs", "pyodide/pyodide.asm.mjs"], "pyodide/pyodide.mjs")
)
def test_a_missing_script_is_told(reader: CellReader, host: Host, name: str) -> None:
    host.lose(name)
    fail_and_retry(reader, "A part of Python could not be loaded", lambda: host.find(name))


def test_a_worker_that_cannot_be_loaded_is_told(reader: CellReader, host: Host) -> None:
    host.lose("python/worker.js")
    fail_and_retry(reader, "its script could not be loaded", lambda: host.find("python/worker.js"))


def test_a_policy_that_forbids_webassembly_is_told(reader: CellReader, host: Host) -> None:
    host.headers["Content-Security-Policy"] = "script-src 'self'; worker-src 'self' blob:"
    reader.page.reload()
    result = reader.run("40 + 2")
    assert "refused to compile WebAssembly" in result["error"]
    assert reader.phase == "failed"


def test_a_host_that_forbids_workers_of_a_blob_gets_one_of_its_script(
    reader: CellReader, host: Host
) -> None:
    host.headers["Content-Security-Policy"] = "worker-src 'self'"
    reader.page.reload()
    assert reader.run("40 + 2")["value"] == "42"


def test_a_damaged_runtime_is_told(reader: CellReader, host: Host) -> None:
    wasm = host.folder / "pyodide" / "pyodide.asm.wasm"
    whole = wasm.read_bytes()
    wasm.write_bytes(whole[:1000])
    fail_and_retry(reader, "WebAssembly", lambda: wasm.write_bytes(whole))


def test_an_offline_reader_is_told_and_goes_on_when_back(reader: CellReader) -> None:
    context = reader.page.context
    context.set_offline(True)
    fail_and_retry(reader, "Check the connection", lambda: context.set_offline(False))


def test_the_cell_s_own_try_again_works_too(reader: CellReader, host: Host) -> None:
    host.lose("python/unfrozen.zip")
    assert not reader.run("1")["ok"]
    host.find("python/unfrozen.zip")
    reader.page.locator(f"#{reader.cell} .cell-message button", has_text="Try again").click()
    reader.page.locator(f"#{reader.cell} .cell-status", has_text="Done").wait_for(timeout=90_000)


def test_python_is_fetched_at_the_first_run_and_not_before(page: Page, host: Host) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    reader = CellReader(page, host.url)
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


def test_a_start_compiles_nothing_and_sources_are_still_at_hand(reader: CellReader) -> None:
    assert reader.run(COMPILED_HERE)["value"] == "[]"
    source = "import inspect, typing\ninspect.getsource(typing.cast).splitlines()[0]"
    assert reader.run(source)["value"] == "'def cast(typ, val):'"


def test_a_restart_after_stop_downloads_nothing_it_has(reader: CellReader) -> None:
    reader.start("sum(range(10**11))")
    asked: list[str] = []
    reader.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    assert reader.stop()["cleared"]
    assert reader.run("1")["ok"]
    assert not set(asked) & {"pyodide.asm.wasm", "python_stdlib.zip", "unfrozen.zip"}


def test_a_second_visit_starts_python_from_what_the_browser_kept(
    page: Page, serve_site: Server
) -> None:
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    received: list[float] = []
    network.on("Network.loadingFinished", lambda end: received.append(end["encodedDataLength"]))

    def visit() -> float:
        received.clear()
        reader = CellReader(page, serve_site.url)
        assert reader.run("40 + 2")["value"] == "42"
        page.goto("about:blank")
        return sum(received)

    first, second = visit(), visit()
    assert second < first / 20, f"{first:.0f} bytes at the first visit, {second:.0f} at the second"
