"""The page on paper: light, whole, and no heading without what it heads."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browser.run_reader import RunReader
from conftest import StaticSite

CHAPTERS = ("run-it-for-real",)

A4 = (718, 1000)  # 190 mm of an A4 sheet between margins of a centimetre
# Charts hear of it first, as they came first, and are to wait for nothing.
HEAR = """() => {
  self.paper = matchMedia('print');
  self.paper.addEventListener('change', () => { self.isOnPaper = self.paper.matches; });
}"""
FOR_PAPER, FOR_THE_DARK = (13, 92, 120), (127, 196, 218)  # --series-1 of both


@pytest.fixture(scope="module")
def printed(chromium: Browser, static_site: StaticSite) -> Iterator[RunReader]:
    """A reader of the dark page prints a run, and what is then asked of the print."""
    context = chromium.new_context(color_scheme="dark", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    reader = RunReader(page, static_site.url)
    reader.wait_notice("finished")
    page.locator("run-view run-chart canvas").first.wait_for()
    page.evaluate(HEAR)
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    reader.wait(lambda: bool(page.evaluate("self.isOnPaper")), "paper")
    yield reader
    context.close()


def test_charts_of_a_run_are_drawn_for_white_paper(printed: RunReader) -> None:
    painted = printed.page.evaluate(
        """(colours) => {
          const [canvas] = document.querySelectorAll("run-view run-chart canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const counts = colours.map(() => 0);
          for (let at = 0; at < data.length; at += 4)
            colours.forEach((colour, index) => {
              if (colour.every((value, place) => data[at + place] === value)) counts[index]++;
            });
          return counts;
        }""",
        [FOR_PAPER, FOR_THE_DARK],
    )
    assert painted[0] > 50
    assert painted[1] == 0


def test_no_chart_is_cut_by_the_edge_of_the_sheet(printed: RunReader) -> None:
    printed.resize(*A4)
    cut = printed.page.evaluate(
        """() => [...document.querySelectorAll("run-view run-chart canvas")]
          .filter((canvas) => canvas.getBoundingClientRect().right >
            document.documentElement.clientWidth + 1).length"""
    )
    assert cut == 0


def test_the_screen_is_dark_again_after_printing(printed: RunReader) -> None:
    printed.page.emulate_media(media="screen", color_scheme="dark")
    printed.page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    paper = printed.page.evaluate(
        "() => getComputedStyle(document.documentElement).backgroundColor"
    )
    assert paper == "rgb(22, 24, 27)"
