"""The built site below a path of a plain host: all it fetches is there, and nothing is missing."""

from playwright.sync_api import Page, Response

from browser.cell_reader import CellReader
from browser.drawing import drawn
from conftest import StaticSite


def test_whatever_a_reader_does_is_fetched_from_below_the_path(
    page: Page, static_site: StaticSite
) -> None:
    asked: list[str] = []
    missing: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def answered(response: Response) -> None:
        if response.status >= 400:
            missing.append(response.url)

    page.on("response", answered)
    reader = CellReader(page, static_site.url)
    for place in (".chapter h2", "memory-planner", "run-view"):  # fetched when one comes near
        for index in range(page.locator(place).count()):
            page.locator(place).nth(index).evaluate("(element) => element.scrollIntoView()")
            drawn(page)
    assert reader.run_as_is("memory-table")["ok"]
    page.wait_for_load_state("networkidle")
    fetched = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert [url for url in fetched if not url.startswith(static_site.url)] == []
    assert missing == []
    parts = {url.removeprefix(static_site.url).split("/")[0] for url in fetched}
    assert {"", "assets", "pyodide", "python", "recordings"} <= parts, parts
