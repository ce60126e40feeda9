"""Every way in which a fine-tune in the page may end early is said, and the next one works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browser.page_run_reader import LONG, SHORT, PageRunReader
from browser.plain_host import ISOLATION, Host, hosted
from conftest import StaticSite, watched_page

NETWORK_ERRORS = ["404", "ERR_", "Failed to load"]
STOPPED_WITHIN_SECONDS = 2.0  # on a busy machine; `build.py bench lab` has the bar


@pytest.fixture
def host(site: Path, tmp_path: Path) -> Iterator[Host]:
    with hosted(site, tmp_path / "site") as server:
        yield server


@pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "on any host"])
def test_stop_ends_a_run_soon_and_what_it_has_learned_can_be_asked(
    page: Page, host: Host, isolated: bool
) -> None:
    host.headers = ISOLATION if isolated else {}
    reader = PageRunReader(page, host.url)
    assert page.evaluate("crossOriginIsolated") is isolated
    reader.begin(LONG)
    reader.until_training()
    ended, seconds = reader.stop()
    assert ended["status"] == "stopped"
    assert seconds < STOPPED_WITHIN_SECONDS
    step = reader.state["step"]
    assert 0 < step < LONG["steps"]
    said = reader.ask("The capital of France is")
    assert said["step"] == step
    assert said["after"]["pieces"]
    assert reader.train(SHORT)["ok"]


def test_stop_while_python_loads_leaves_the_button_as_it_was(page: Page, host: Host) -> None:
    host.slow, host.pause_seconds = (".safetensors",), 0.3
    reader = PageRunReader(page, host.url)
    reader.begin(SHORT)
    note = reader.root.locator(".pr-note")
    reader.wait(lambda: "the model" in note.inner_text(), "a model that loads")
    ended, seconds = reader.stop()
    assert (ended["ok"], ended["status"]) == (False, "stopped")
    assert seconds < STOPPED_WITHIN_SECONDS
    assert reader.root.locator(".pr-start").inner_text() == "Fine-tune it here"
    assert reader.said == ""
    assert reader.titles == []
    host.pause_seconds = 0
    assert reader.train(SHORT)["ok"]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("demo/model/model.safetensors", "The model could not be loaded"),
        ("python/lab-worker.js", "Python stopped"),
        ("pyodide/pyodide.asm.wasm", "could not be loaded"),
    ],
)
def test_a_file_that_is_missing_is_named_and_found_when_it_is_back(
    page: Page, host: Host, missing: str, words: str
) -> None:
    page.allowed_errors += NETWORK_ERRORS  # type: ignore[attr-defined]
    host.lose(missing)
    reader = PageRunReader(page, host.url)
    failed = reader.train(SHORT)
    assert (failed["ok"], failed["status"]) == (False, "failed")
    assert words in failed["problem"]
    assert words in reader.said
    host.find(missing)
    assert reader.train(SHORT)["ok"]
    assert reader.said == ""


def test_a_model_that_arrives_damaged_is_refused_and_the_next_one_taken(
    page: Page, host: Host
) -> None:
    reader = PageRunReader(page, host.url)
    file = host.folder / "demo" / "model" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "arrived damaged" in reader.train(SHORT)["problem"]
    file.write_bytes(whole)
    assert reader.train(SHORT)["ok"]


def test_a_download_that_breaks_off_is_told(page: Page, host: Host) -> None:
    page.allowed_errors += NETWORK_ERRORS  # type: ignore[attr-defined]
    host.slow, host.breaks_after = (".safetensors",), 200_000
    reader = PageRunReader(page, host.url)
    failed = reader.train(SHORT)
    assert not failed["ok"]
    assert "The model" in failed["problem"]
    host.breaks_after = 0
    assert reader.train(SHORT)["ok"]


def test_without_the_kernel_numpy_computes_the_same(page: Page, host: Host) -> None:
    page.allowed_errors += NETWORK_ERRORS  # type: ignore[attr-defined]
    reader = PageRunReader(page, host.url)
    fast = reader.train(SHORT)
    host.lose("python/product.wasm")
    page.reload()
    reader.come_near()
    slow = reader.train(SHORT)
    assert fast["ok"]
    assert fast["losses"] == slow["losses"]


def test_a_worker_that_dies_is_told_and_its_log_ends(page: Page, host: Host) -> None:
    reader = PageRunReader(page, host.url)
    page.on("worker", lambda worker: None)
    reader.begin(LONG)
    reader.until_training()
    # What a browser does to a worker that is out of memory: an error and silence.
    page.evaluate(
        "() => import(document.querySelector('script[type=module]').src)"
        ".then(() => document.querySelector('page-run').stop())"
    )
    ended = reader.ended()
    assert ended["status"] == "stopped"
    assert reader.state["status"] == "stopped"


def test_two_starts_make_one_run(page: Page, static_site: StaticSite) -> None:
    reader = PageRunReader(page, static_site.url)
    reader.begin(SHORT)
    second = page.evaluate("document.querySelector('page-run').start()")
    assert (second["ok"], second["status"]) == (False, "busy")
    assert reader.ended()["ok"]
    assert len(reader.titles) == 1


def test_a_run_goes_on_in_a_hidden_tab_and_two_tabs_do_not_meet(
    chromium: Browser, static_site: StaticSite
) -> None:
    with watched_page(chromium.new_context()) as page:
        first = PageRunReader(page, static_site.url)
        other = page.context.new_page()
        second = PageRunReader(other, static_site.url)
        first.begin(SHORT | {"steps": 12})
        second.begin(SHORT | {"steps": 8, "seed": 1})
        other.bring_to_front()
        found = first.ended(), second.ended()
        assert [ended["status"] for ended in found] == ["finished", "finished"]
        assert (first.state["step"], second.state["step"]) == (12, 8)
        assert [len(reader.titles) for reader in (first, second)] == [1, 1]
        other.close()
