"""The documentation: one search over article and guides, by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from accessibility import violations
from browser.door import door
from conftest import StaticSite

pytestmark = pytest.mark.slow


def test_a_reader_finds_a_guide_by_keyboard_from_another_one(
    page: Page, static_site: StaticSite
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(door(static_site.url, "docs/watch"))
    field = page.get_by_role("searchbox")
    expect(field).to_be_visible()
    assert not [url for url in asked if url.endswith("search.json")], "only a reader who searches"
    page.keyboard.press("/")
    page.keyboard.type("slurm")
    results = page.locator(".search-results a")
    expect(results.first).to_have_text("Slurm, SkyPilot")
    page.keyboard.press("ArrowDown")
    expect(results.first).to_be_focused()
    page.keyboard.press("Escape")
    expect(field).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{door(static_site.url, 'docs/scale')}#slurm-skypilot")
    expect(page.get_by_role("heading", name="Slurm, SkyPilot")).to_be_in_viewport()


def test_what_is_in_no_section_is_said_and_the_article_is_searched_too(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(door(static_site.url, "docs"))
    page.get_by_role("searchbox").fill("zyzzyva")
    expect(page.locator(".search-status")).to_have_text("Nothing is found.")
    page.get_by_role("searchbox").fill("warm-up")
    expect(page.locator(".search-results")).to_contain_text("Article")
    assert not violations(page)
