"""How the fine-tune stands in the page before anybody has trained, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from accessibility import objections
from browser.page_run_reader import PageRunReader
from conftest import StaticSite, watched_page
from unfrozen.lab.choices import PRESETS

CHAPTERS = ("forgetting",)


@pytest.fixture(scope="module")
def reader(chromium: Browser, static_site: StaticSite) -> Iterator[PageRunReader]:
    """A reader who has not trained yet."""
    with watched_page(chromium.new_context(bypass_csp=True)) as page:
        yield PageRunReader(page, static_site.url)


@pytest.mark.matrix
def test_axe_finds_nothing_before_a_run(reader: PageRunReader) -> None:
    assert objections(reader.page, "page-run", ("dark", 320)) == []


def test_without_scripts_the_plane_and_the_presets_are_there_and_nothing_can_be_pressed(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(static_site.url)
    root = page.locator("page-run")
    assert "needs JavaScript" in root.inner_text()
    assert root.locator(".page-run-dot-start").is_visible()
    assert root.locator("button:enabled, input:enabled").count() == 0
    assert root.locator(".chip").count() == len(PRESETS)
    context.close()
