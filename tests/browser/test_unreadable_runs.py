"""A page over a folder with bad runs in it: it follows a good one, and says what the others are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

from browser.door import door
from browser.run_reader import RunReader
from conftest import Server
from security.hostile_runs import FAULTS, GOOD, LISTED, fill

LATEST = "200 MB in one line"


@pytest.fixture(scope="module")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("unreadable")
    fill(folder / "runs")
    running = Server(site, folder / "runs", folder / "server.log")
    running.start()
    yield running
    running.stop()


def test_the_page_lists_every_run_and_offers_those_that_can_be_read(
    server: Server, page: Page
) -> None:
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(door(server.url, "runs"))
    rows = page.locator("run-list tbody tr[data-key^='live:']")
    told = rows.filter(has=page.locator("input[disabled]"))
    expect(told).to_have_count(len(FAULTS) + 2)
    texts = told.all_inner_texts()
    for name, (_, problem) in FAULTS.items():
        assert any(name in text and problem in text for text in texts), name
    offered = rows.filter(has=page.locator("input:not([disabled])"))
    assert {f"live:{name}" for name in (GOOD, *LISTED)} <= set(
        offered.evaluate_all("rows => rows.map(({ dataset }) => dataset.key)")
    )
    assert page.locator("run-list img").count() == 0
    watcher = RunReader(page)
    watcher.choose(f"live:{GOOD}")
    watcher.wait_notice("finished")
    assert watcher.brief["step"] == 7
    watcher.choose(f"live:{LATEST}")
    page.locator(".run-notice").get_by_text("Finished").wait_for()
    watcher.wait(lambda: watcher.state["skippedLines"] == 1, "the line that was passed over")
    packed = {a.url.rpartition("/")[2] for a in answers if "content-encoding" in a.headers}
    assert any(name.endswith(".js") for name in packed)
    assert "" in packed  # the page itself
