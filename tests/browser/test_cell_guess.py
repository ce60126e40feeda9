"""A guess before a run: typed, covered, compared by Python, and never in the way."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from browser.cell_reader import CellReader, one_page
from conftest import StaticSite
from unfrozen.guesses import GUESSES

CHAPTERS = ("the-memory-wall", "the-learning-rate", "the-planner")

CELLS = {
    "one-by-one": "peaks",
    "moves": "stall",
    "shared-out": "zero-curve",
    "adapters": "methods",
}


class Guesser:
    """A reader at one cell that asks for a guess."""

    def __init__(self, reader: CellReader) -> None:
        self.reader = reader

    def go_to(self, cell: str) -> None:
        """Look at another cell of the page, whose Python goes on."""
        self.reader.cell = cell
        self.cell: Locator = self.reader.page.locator(f"#{cell}")
        self.field = self.cell.locator(".cell-guess input")
        self.said = self.cell.locator(".cell-guessed")

    def begin_anew(self, cell: str) -> None:
        """Look at a cell as it came, with no guess in it."""
        self.go_to(cell)
        self.reader.page.evaluate("(id) => document.getElementById(id).reset()", cell)
        self.field.fill("")
        self.field.blur()

    def marks(self) -> list[str]:
        """Labels of levels and lines of the first plot."""
        plot: dict[str, Any] = self.reader.shown()["plots"][0]
        return [each["label"] for each in (*plot.get("thresholds", ()), *plot["lines"])]


@pytest.fixture(scope="module")
def guesser(chromium: Browser, static_site: StaticSite) -> Iterator[Guesser]:
    """One reader at all of the cells."""
    with one_page(chromium, static_site.url) as reader:
        yield Guesser(reader)


def test_the_result_is_covered_while_the_reader_guesses_and_stays_where_it_is(
    guesser: Guesser,
) -> None:
    guesser.go_to("stall")
    plot = guesser.cell.locator("data-plot")
    assert plot.is_visible()
    before = plot.bounding_box()
    guesser.field.focus()
    assert not plot.is_visible()
    guesser.field.blur()
    assert plot.is_visible()
    guesser.field.fill("20")
    guesser.field.press("Enter")
    plot.wait_for(timeout=90_000)
    after = plot.bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] == pytest.approx(before["height"], abs=1)


def test_a_guess_stands_beside_the_result_of_each_of_the_four_cells(guesser: Guesser) -> None:
    for key, cell in CELLS.items():
        guesser.go_to(cell)
        expect(guesser.cell.locator(".cell-guess")).to_contain_text(GUESSES[key].question)
        guesser.field.fill("20")
        guesser.field.press("Enter")
        guesser.cell.locator(".cell-guessed:not(:empty)").wait_for(timeout=90_000)
        assert guesser.said.inner_text().startswith("Your guess: ")
        assert guesser.said.get_attribute("role") == "status"
        assert "Your guess" in guesser.marks()


def test_without_a_guess_the_cell_runs_as_ever(guesser: Guesser) -> None:
    guesser.begin_anew("stall")
    assert guesser.reader.run_as_is("stall")["ok"]
    assert guesser.said.inner_text() == ""
    assert "Your guess" not in guesser.marks()


def test_a_guess_that_is_no_number_is_reported_so_and_the_cell_runs(guesser: Guesser) -> None:
    guesser.begin_anew("stall")
    guesser.field.fill("a lot")
    assert guesser.reader.run_as_is("stall")["ok"]
    assert "'a lot' cannot be read as a number" in guesser.said.inner_text()
    assert "Your guess" not in guesser.marks()


def test_an_edited_cell_is_compared_with_what_it_shows_and_reset_takes_that_away(
    guesser: Guesser,
) -> None:
    page = guesser.reader.page
    guesser.begin_anew("peaks")
    guesser.field.fill("10")
    source = page.evaluate("() => document.getElementById('peaks').code")
    assert guesser.reader.run(source.replace("range(1, 9)", "range(1, 4)"))["ok"]
    assert "no longer publishes what was asked" in guesser.said.inner_text()
    page.evaluate("() => document.getElementById('peaks').reset()")
    assert guesser.said.inner_text() == ""
    assert "Your guess" not in guesser.marks()
