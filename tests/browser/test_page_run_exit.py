"""Every way in which a fine-tune in the page may end early is reported, and the next one works."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.page_run_reader import LONG, MODEL, SHORT, STOPPED_WITHIN_SECONDS, PageRunReader
from browser.plain_host import ISOLATION, Host
from conftest import watched_page
from slowness import slowness

CHAPTERS = ("forgetting",)

NETWORK_ERRORS = ["404", "ERR_", "Failed to load"]
FULL = "WebAssembly.Memory.prototype.grow = () => { throw new RangeError('no memory') }"
"""What a browser says of the next page of memory, once it has given all it gives."""
STUCK = "Promise = function () { this.then = () => {} }"
"""What the worker waits for between two pieces of work never comes."""


@pytest.fixture(scope="module")
def host(host: Host) -> Host:
    """That host, which isolates its pages."""
    host.headers = ISOLATION
    return host


@pytest.fixture(scope="module")
def reader(chromium: Browser, host: Host) -> Iterator[PageRunReader]:
    """One reader to whom all of it happens, on a host that isolates its pages."""
    with watched_page(chromium.new_context()) as page:
        page.allowed_errors += NETWORK_ERRORS  # type: ignore[attr-defined]
        yield PageRunReader(page, host.url)


def within_the_worker(reader: PageRunReader, expression: str) -> None:
    """Evaluate it there: by the browser's own protocol, as the worker has no `eval`."""
    devtools = reader.page.context.new_cdp_session(reader.page)
    found: list[str] = []
    done: list[object] = []

    def note(attached: dict[str, Any]) -> None:
        if attached["targetInfo"]["type"] == "worker":  # the lab's: no cell runs here
            found.append(attached["sessionId"])

    devtools.on("Target.attachedToTarget", note)
    devtools.on("Target.receivedMessageFromTarget", lambda message: done.append(message))
    attach = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False}
    devtools.send("Target.setAutoAttach", attach)
    reader.wait(lambda: found, "a worker")
    message = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression}}
    sent = {"sessionId": found[-1], "message": json.dumps(message)}
    devtools.send("Target.sendMessageToTarget", sent)
    reader.wait(lambda: done, "an answer of the worker")
    devtools.detach()


def missing(name: str) -> Callable[[Host], Callable[[], object]]:
    def mishap(host: Host) -> Callable[[], object]:
        host.lose(name)
        return lambda: host.find(name)

    return mishap


def broken_off(ending: str) -> Callable[[Host], Callable[[], object]]:
    def mishap(host: Host) -> Callable[[], object]:
        host.slow, host.breaks_after = (ending,), 200_000
        return lambda: setattr(host, "breaks_after", 0)

    return mishap


def damaged(host: Host) -> Callable[[], object]:
    file = host.folder / MODEL
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return lambda: file.write_bytes(whole)


MISHAPS = [
    (missing("pyodide/pyodide.asm.wasm"), "server answered 404 for pyodide/pyodide.asm.wasm"),
    (broken_off(".whl"), "numpy"),
    (missing(MODEL), "The model could not be downloaded: the server answered 404"),
    (broken_off(".safetensors"), "The download of The model broke off"),
    (damaged, "model.safetensors arrived damaged"),
]


@pytest.mark.matrix
def test_every_download_that_fails_is_named_and_the_next_try_begins_where_it_failed(
    reader: PageRunReader, host: Host
) -> None:
    reader.page.reload()
    reader.come_near()
    for mishap, words in MISHAPS:
        assert_it_fails(reader, mishap(host), words)
    assert_stop_while_the_model_loads_leaves_the_button_as_it_was(reader, host)
    no_worker = missing("python/worker.js")(host)
    assert_it_fails(reader, no_worker, "its script could not be loaded")  # with all files here
    host.asked.clear()
    assert reader.train(SHORT)["ok"]
    assert reader.said == ""
    assert not [path for path in host.asked if "pyodide.asm.wasm" in path]


def assert_it_fails(reader: PageRunReader, undo: Callable[[], object], words: str) -> None:
    failed = reader.train(SHORT)
    undo()
    assert (failed["ok"], failed["status"]) == (False, "failed")
    assert words in failed["problem"]
    assert reader.said == f"{failed['problem']} Try again."
    assert reader.titles == []


def assert_stop_while_the_model_loads_leaves_the_button_as_it_was(
    reader: PageRunReader, host: Host
) -> None:
    host.slow, host.pause_seconds = (".safetensors",), 0.3
    question = "self.asked = document.querySelector('page-run').ask('so?')"
    reader.page.evaluate(f"() => {{ {question}.then((said) => {{ self.said = said }}) }}")
    note = reader.root.locator(".page-run-note")
    for begin in (lambda: None, lambda: reader.begin(SHORT)):
        begin()
        reader.wait(lambda: "the model" in note.inner_text(), "a model that loads")
        reader.root.locator(".page-run-stop").click()
        reader.wait(lambda: reader.phase == "idle", "its end")
        assert reader.root.locator(".page-run-start").inner_text() == "Fine-tune it here"
        assert (reader.said, reader.titles) == ("", [])
    assert reader.page.evaluate("self.said") == {"problem": "It was stopped."}
    assert reader.ended()["status"] == "stopped"
    host.pause_seconds = 0


@pytest.mark.matrix
def test_a_worker_that_goes_on_no_more_is_ended_by_force_and_another_takes_its_place(
    reader: PageRunReader,
) -> None:
    reader.begin(LONG)
    reader.until_training()
    within_the_worker(reader, STUCK)
    ended, seconds = reader.stop()
    assert ended["status"] == "failed"
    assert "ended by force" in ended["problem"]
    assert seconds < 5 + STOPPED_WITHIN_SECONDS * slowness()
    assert ended["problem"] in reader.said
    assert reader.state["status"] == "failed"
    assert reader.root.locator(".page-run-item-score").last.inner_text() == "failed"
    assert reader.ask("The capital of France is")["after"] is None


@pytest.mark.matrix
def test_memory_that_runs_out_is_told_with_a_remedy_and_the_next_run_has_it_again(
    reader: PageRunReader,
) -> None:
    assert reader.train(SHORT)["ok"]
    within_the_worker(reader, FULL)
    failed = reader.train(SHORT | {"rows_per_step": 64})
    assert failed["status"] == "failed"
    assert (
        "Python ran out of the memory that a browser gives a page; closing other tabs"
        in reader.said
    )
    assert reader.state["status"] == "failed"
    assert reader.train(SHORT)["ok"]
    assert reader.said == ""


@pytest.mark.matrix
def test_runs_go_on_in_a_hidden_tab_and_a_frozen_one_and_two_tabs_do_not_meet(
    reader: PageRunReader, host: Host
) -> None:
    by_kernel = reader.train(SHORT | {"seed": 1})
    page, listed = reader.page, len(reader.titles)
    other = page.context.new_page()
    second = PageRunReader(other, host.url)
    reader.begin(SHORT | {"steps": 12})
    host.lose("python/matmul.wasm")
    second.begin(SHORT | {"seed": 1})
    reader.until_training()
    devtools = page.context.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    by_numpy = second.ended()
    host.find("python/matmul.wasm")
    assert by_numpy["status"] == "finished"
    assert by_numpy["losses"] == by_kernel["losses"], "the kernel gives numpy's bits"
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    assert reader.ended()["status"] == "finished"
    steps = "document.querySelector('page-run').state.series['train/loss'].x"
    assert page.evaluate(steps) == list(range(1, 13))
    assert other.evaluate(steps) == list(range(1, 5))
    assert (len(reader.titles), len(second.titles)) == (listed + 1, 1)
    other.close()
