"""Runs of other trainers in a real browser: what is shown, and which commands they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accessibility import is_wider_than_the_window, violations
from browser.run_reader import RunReader
from conftest import Server
from run_process import children
from watched_loops import train_until_stopped

CHAPTERS = ("run-it-for-real",)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("watched")
    running = Server(site, folder / "runs", folder / "server.log", options=("--allow-control",))
    running.start()
    yield running
    running.stop()


def test_a_watched_run_shows_its_trainer_and_obeys_its_commands(page: Page, server: Server) -> None:
    child = children().Process(target=train_until_stopped, args=(str(server.runs),))
    child.start()
    try:
        reader = RunReader(page, server.url)
        reader.wait(lambda: reader.brief["step"] >= 3, "steps")
        assert reader.state["start"]["trainer"] == "a loop of its own"
        expect(page.locator(".run-facts").first).to_contain_text("watched: a loop of its own")
        expect(page.get_by_text("reward", exact=True).first).to_be_visible()
        save = page.get_by_role("button", name="Save checkpoint", exact=True)
        expect(save).to_have_attribute("aria-disabled", "true")
        expect(save).to_have_attribute(
            "title",
            "The loop that trains this run does not support that command.",
        )
        page.get_by_role("button", name="Pause", exact=True).click()
        reader.wait_notice("paused")
        page.get_by_role("button", name="Resume", exact=True).click()
        reader.wait_notice("live")
        assert not violations(page, "run-view")
        memory: Any = reader.state["memory"]
        assert memory["predicted"]
        assert memory["measured"]
    finally:
        child.kill()
        child.join()
    reader.wait_notice("trainer-gone")
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_hidden()
    reader.resize(390, 844)
    assert not is_wider_than_the_window(page)
