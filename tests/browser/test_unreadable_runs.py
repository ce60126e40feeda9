"""A page over a folder with bad runs in it: it follows a good one, and says what the others are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response

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
    chooser = page.locator("run-chooser select").first
    offered = chooser.locator("option:not([disabled])")
    told = chooser.locator("option[disabled]")
    told.first.wait_for(state="attached")
    assert told.count() == len(FAULTS) + 2
    texts = told.all_inner_texts()
    for name, (_, problem) in FAULTS.items():
        assert any(name in text and problem in text for text in texts), name
    assert {f"live:{name}" for name in (GOOD, *LISTED)} <= set(
        offered.evaluate_all("options => options.map(({ value }) => value)")
    )
    assert page.locator("run-chooser img").count() == 0
    chooser.select_option(f"live:{GOOD}")
    watcher = RunReader(page)
    watcher.wait_notice("finished")
    assert watcher.brief["step"] == 7
    chooser.select_option(f"live:{LATEST}")
    page.locator(".run-notice").get_by_text("Finished").wait_for()
    watcher.wait(lambda: watcher.state["skippedLines"] == 1, "the line that was passed over")
    packed = {a.url.rpartition("/")[2] for a in answers if "content-encoding" in a.headers}
    assert any(name.endswith(".js") for name in packed)
    assert "" in packed  # the page itself
