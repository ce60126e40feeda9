"""Many windows of one browser before one server: all follow, and commands always get through."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page

from browser.run_reader import RunReader, write, written
from conftest import Server
from run_process import children
from slowness import slowness
from watched_loops import train_until_stopped

CHAPTERS = ("run-it-for-real",)

HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A reader's own browser, whose windows share its connections."""
    opened = chromium.new_context()
    yield opened
    opened.close()


def open_tabs(context: BrowserContext, server: Server, count: int) -> list[RunReader]:
    return [RunReader(context.new_page(), server.url) for _ in range(count)]


def steps(readers: list[RunReader]) -> list[int]:
    return [int(reader.brief["step"]) for reader in readers]


def all_move(readers: list[RunReader], run: str) -> None:
    """Every tab follows `run` and goes on with it."""
    for reader in readers:
        reader.wait(lambda r=reader: r.brief["run"] == run, run)  # type: ignore[misc]
    before = steps(readers)
    for reader, step in zip(readers, before, strict=True):
        reader.wait(lambda r=reader, s=step: r.brief["step"] > s, "progress")  # type: ignore[misc]


def connections(server: Server) -> int:
    """How many connections the server holds."""
    assert server.process is not None
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def is_whole(reader: RunReader, log: Path) -> bool:
    written_lines = log.read_bytes().count(b"\n")
    found = reader.brief
    return (found["events"], found["gaps"], found["duplicates"]) == (written_lines, 0, 0)


@pytest.mark.matrix
def test_eight_windows_follow_and_a_pause_is_obeyed_within_a_step(
    context: BrowserContext, site: Path, tmp_path: Path
) -> None:
    runs, options = tmp_path / "runs", ("--allow-control",)
    server = Server(site, runs, tmp_path / "server.log", options=options)
    server.start()
    trainer = children().Process(target=train_until_stopped, args=(str(runs),))
    trainer.start()
    try:
        readers = open_tabs(context, server, 4)
        readers[0].wait(lambda: readers[0].brief["step"] > 2, "steps")
        run = readers[0].brief["run"]
        all_move(readers, run)
        readers += open_tabs(context, server, 4)  # more than a browser gives one host connections
        all_move(readers, run)
        told = [reader.page.locator(".run-state").inner_text() for reader in readers]
        assert sum("Other windows of this browser" in text for text in told) == 4
        last = readers[-1]
        pause = last.page.get_by_role("button", name="Pause", exact=True)
        before, pressed = last.brief["step"], time.monotonic()
        pause.click()
        last.wait_notice("paused")
        waited = time.monotonic() - pressed
        assert waited < 9 * slowness()  # its turn to read comes every three seconds
        for reader in readers:
            reader.wait_notice("paused")
        assert len(set(steps(readers))) == 1
        assert last.brief["step"] - before < waited / 0.005  # no more than the time holds
        all_whole(readers, runs / run / "events.jsonl")
    finally:
        trainer.kill()
        trainer.join()
        server.stop()


def test_tabs_that_crash_or_close_take_nothing_from_the_others(
    context: BrowserContext, server: Server
) -> None:
    with write(server.runs, "long", "--steps", "100000", "--pace", "0.1") as trainer:
        readers = open_tabs(context, server, 4)
        all_move(readers, "long")
        while len(readers) > 2:
            crash(readers.pop(0).page)  # it holds a connection
            all_move(readers, "long")
        readers.pop(0).page.close()
        readers += open_tabs(context, server, 1)
        all_move(readers, "long")
        trainer.terminate()
    all_whole(readers, server.runs / "long" / "events.jsonl")


def all_whole(readers: list[RunReader], log: Path) -> None:
    """Return once every tab has read every line of the log, each once."""
    for reader in readers:
        reader.wait(lambda r=reader: is_whole(r, log), "the whole log")  # type: ignore[misc]


def crash(page: Page) -> None:
    """End the process behind a tab, with all that lives in it."""
    with suppress(Error):
        page.goto("chrome://crash", timeout=2000)


@pytest.mark.matrix
def test_hidden_tabs_rest_and_catch_up_when_they_are_seen(
    context: BrowserContext, server: Server
) -> None:
    with write(server.runs, "long", "--steps", "100000", "--pace", "0.1") as trainer:
        readers = open_tabs(context, server, 3)
        all_move(readers, "long")
        for reader in readers[1:]:
            reader.page.evaluate(HIDE, True)
        before: list[int] = []
        while before[1:] != (found := steps(readers))[1:]:  # what is under way still arrives
            before = found
            all_move(readers[:1], "long")
        all_move(readers[:1], "long")
        assert steps(readers)[1:] == before[1:]
        readers[0].page.evaluate(HIDE, True)
        readers[0].wait(lambda: connections(server) == 0, "rest of all")
        for reader in readers:
            reader.page.evaluate(HIDE, False)
        all_move(readers, "long")
        assert not [reader for reader in readers if reader.brief["gaps"] != 0]
        trainer.terminate()


@pytest.mark.matrix
def test_a_late_tab_gets_the_history_of_a_long_run(context: BrowserContext, server: Server) -> None:
    log = written(server.runs, "done", "--steps", "2000", "--end", "finished")
    readers = open_tabs(context, server, 3)
    for reader in readers:
        reader.wait_notice("finished")
        assert is_whole(reader, log)


@pytest.mark.matrix
def test_a_browser_without_web_locks_reads_too(chromium: Browser, server: Server) -> None:
    context = chromium.new_context()
    context.add_init_script("delete Navigator.prototype.locks")
    log = written(server.runs, "done", "--steps", "50", "--end", "finished")
    reader = RunReader(context.new_page(), server.url)
    reader.wait_notice("finished")
    assert is_whole(reader, log)
    context.close()
