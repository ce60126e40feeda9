"""All kinds of figures on one page, as readers with different needs meet them."""

from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import violations
from conftest import matrix


@pytest.mark.parametrize(
    ("scheme", "width"),
    matrix(product(["light", "dark"], [390, 1000]), ("light", 1000), ("dark", 390)),
)
def test_axe_finds_nothing_in_any_figure(page: Page, gallery: str, scheme: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.allowed_errors = ["Applying inline style"]  # type: ignore[attr-defined]  # axe itself
    page.goto(gallery)
    expect(page.locator(".plot-stage").first).to_be_attached()
    page.locator("#losses").get_by_role("button", name="Show data").click()
    page.locator("#schedules .plot-stage").focus()
    page.keyboard.press("End")
    assert violations(page) == []


def test_without_script_every_figure_is_there_and_fits_a_telephone(
    chromium: Browser, gallery: str
) -> None:
    context = chromium.new_context(
        java_script_enabled=False, viewport={"width": 390, "height": 800}
    )
    page = context.new_page()
    page.goto(gallery)
    plots = page.locator("data-plot:has(svg)")
    for index in range(plots.count()):
        expect(plots.nth(index).locator(".plot-narrow")).to_be_visible()
        expect(plots.nth(index).locator(".plot-wide")).to_be_hidden()
    expect(page.locator("data-table button, data-plot button")).to_have_count(0)
    context.close()
