"""The charts of a run under pointer, keyboard, paper and a reader's own colours."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from browser.run_reader import RunReader, reaches, write, written
from conftest import watched_page

CHAPTERS = ("run-it-for-real",)

RANGE = """(chart) => chart.querySelector('.run-stage').dataset.range.split(' ').map(Number)"""
WHOLE = "(e) => e.scrollWidth <= e.clientWidth && getComputedStyle(e).textOverflow !== 'ellipsis'"
ON_PAPER, IN_THE_DARK = [0x0D, 0x5C, 0x78], [0x7F, 0xC4, 0xDA]  # of the first line
# How many pixels of a chart have that colour.
INK = """(chart, wanted) => {
  const canvas = chart.querySelector('canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (wanted.every((value, place) => Math.abs(value - data[at + place]) < 12)) found += 1;
  }
  return found;
}"""
# Notes which of the colours are there as soon as the chart was told that it is printed, or is over:
# of two who ask for that, the first is told first.
NOTE_INKS = f"""(chart, colours) => {{
  const ink = {INK};
  const noted = () => colours.map((colour) => ink(chart, colour) > 20);
  self.inks = [];
  self.paper = matchMedia('print');
  self.paper.addEventListener('change', () => self.inks.push(noted()));
}}"""


@pytest.fixture(scope="module")
def logs(serve_site: Any) -> None:
    written(serve_site.runs, "charts", "--steps", "200", "--end", "finished")


@pytest.fixture(scope="module")
def opened(chromium: Browser, serve_site: Any, logs: None) -> Iterator[RunReader]:  # noqa: ARG001
    """One page for all that look at a run of 200 steps."""
    with watched_page(chromium.new_context(viewport={"width": 1280, "height": 900})) as page:
        yield shown(page, serve_site)


@pytest.fixture
def reader(opened: RunReader) -> RunReader:
    """The same as it first was: wide, whole, and each batch as it is."""
    page = opened.page
    page.evaluate("() => document.activeElement.blur()")
    page.get_by_label("Smooth the loss").uncheck()
    opened.resize(1280, 900)
    loss = chart(page, "Loss on the task")
    reaches(loss, 200)
    loss.scroll_into_view_if_needed()
    return opened


def shown(page: Page, serve_site: Any) -> RunReader:
    reader = RunReader(page, serve_site.url)
    reader.choose("live:charts")
    reader.wait_notice("finished")
    loss = page.locator("run-view run-chart").first
    reaches(loss, 200)
    loss.scroll_into_view_if_needed()
    return reader


def chart(page: Page, title: str) -> Locator:
    return page.locator("run-view run-chart", has_text=title)


def span(one: Locator) -> list[float]:
    low, high = one.evaluate(RANGE)
    return [low, high]


def inks(one: Locator) -> list[bool]:
    return [one.evaluate(INK, ink) > 20 for ink in (ON_PAPER, IN_THE_DARK)]


@pytest.mark.parametrize("title", ["Loss on the task", "Loss on what it knew before"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_readout_is_whole(reader: RunReader, title: str, width: int) -> None:
    one = chart(reader.page, title)
    reaches(one, 200)
    reader.resize(width, 900)
    one.locator(".run-stage").focus()
    top = one.bounding_box()
    reader.page.keyboard.press("End")
    readout = one.locator(".run-readout")
    expect(readout).to_contain_text("step 200 · ")
    assert readout.evaluate(WHOLE)
    after = one.bounding_box()
    assert top
    assert after
    assert (top["y"], top["width"]) == (after["y"], after["width"])


def test_a_stretch_of_steps_is_zoomed_into_by_dragging_and_left_by_a_double_click(
    reader: RunReader,
) -> None:
    one = chart(reader.page, "Loss on the task")
    assert span(one) == [0, 200]
    over = one.locator(".u-over").bounding_box()
    assert over is not None
    x, y = over["x"], over["y"] + over["height"] / 2
    mouse = reader.page.mouse
    mouse.move(x + over["width"] * 0.25, y)
    mouse.down()
    mouse.move(x + over["width"] * 0.5, y, steps=4)
    mouse.up()
    low, high = span(one)
    assert 45 < low < 55
    assert 95 < high < 105
    mouse.dblclick(x + over["width"] / 2, y)
    assert span(one) == [0, 200]


def test_the_keyboard_zooms_too_and_a_button_shows_all_again(reader: RunReader) -> None:
    page = reader.page
    one = chart(page, "Loss on the task")
    one.locator(".run-stage").focus()
    page.keyboard.press("Home")
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert span(one) == [0, 50]
    page.keyboard.press("End")
    expect(one.locator(".run-readout")).to_contain_text("step 50 · ")
    page.keyboard.press("-")
    assert span(one)[1] == pytest.approx(100)
    page.keyboard.press("Escape")
    assert span(one) == [0, 200]
    page.keyboard.press("+")
    button = one.get_by_role("button", name="Show all steps")
    button.click()
    assert span(one) == [0, 200]
    expect(button).to_be_hidden()


def test_charts_share_a_cursor_and_a_range(reader: RunReader) -> None:
    page = reader.page
    one, other = (chart(page, f"Loss on {what}") for what in ("the task", "what it knew before"))
    one.locator(".run-stage").focus()
    page.keyboard.press("Home")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    expect(one.locator(".run-readout")).to_contain_text("step 7 · each batch ")
    beside = other.locator(".run-readout")
    expect(beside).to_contain_text("step 7 · copying 0.710 at 0")  # its newest value there
    expect(beside).to_have_attribute("aria-live", "off")
    page.keyboard.press("+")
    assert span(other) == span(one) != [0, 200]
    other.get_by_role("button", name="Show all steps").click()
    assert span(other) == span(one) == [0, 200]
    over = other.locator(".u-over").bounding_box()
    assert over is not None
    page.mouse.move(over["x"] + over["width"] / 2, over["y"] + 40)
    expect(one.locator(".run-readout")).to_contain_text("step 100 · each batch ")
    page.mouse.move(0, 0)
    expect(one.locator(".run-readout")).to_be_empty()


def test_the_axis_ends_where_the_run_is_or_where_it_is_planned_to_end(
    page: Page, serve_site: Any
) -> None:
    with write(serve_site.runs, "early", "--steps", "400", "--until", "20", "--hang") as trainer:
        reader = RunReader(page, serve_site.url)
        reader.choose("live:early")
        reader.wait(lambda: reader.brief["step"] == 20, "step 20")
        one = chart(page, "Loss on the task")
        one.scroll_into_view_if_needed()
        reaches(one, 20)
        page.get_by_label("Axis to the planned end").check()
        reaches(one, 400)
        expect(page.locator("run-view .run-time")).to_contain_text("elapsed")
        expect(page.locator("run-view .run-time")).to_contain_text("left")
        trainer.kill()


def test_the_loss_is_smoothed_on_request_and_its_numbers_stay(reader: RunReader) -> None:
    page = reader.page
    one = chart(page, "Loss on the task")
    page.get_by_label("Smooth the loss").check()
    expect(one.locator(".run-chart-note")).to_contain_text("moving average")
    one.locator("canvas").wait_for()  # the one that was there before had other lines
    one.locator(".run-stage").focus()
    page.keyboard.press("End")
    expect(one.locator(".run-readout")).to_contain_text("each batch ")
    expect(one.locator(".run-readout")).to_contain_text("moving average ")


def test_norm_and_step_time_have_charts_and_facts_of_their_own(reader: RunReader) -> None:
    for title in ("Gradient norm", "Step time"):
        expect(chart(reader.page, title).locator("canvas")).to_be_visible()
        expect(reader.page.locator("run-view .run-numbers dt", has_text=title)).to_be_visible()
    assert reader.page.locator("run-view run-chart", has_text="Stalled weights").count() == 0


@pytest.mark.usefixtures("logs")
def test_charts_are_printed_in_the_colours_of_paper(chromium: Browser, serve_site: Any) -> None:
    context = chromium.new_context(color_scheme="dark")
    page = context.new_page()
    reader = shown(page, serve_site)
    one = chart(page, "Loss on the task")
    assert inks(one) == [False, True]
    one.evaluate(NOTE_INKS, [ON_PAPER, IN_THE_DARK])
    page.emulate_media(media="print")
    reader.wait(lambda: len(page.evaluate("self.inks")) == 1, "the page on paper")
    page.emulate_media(media="screen")
    reader.wait(lambda: len(page.evaluate("self.inks")) == 2, "the page on the screen")
    assert page.evaluate("self.inks") == [[True, False], [False, True]]
    context.close()


@pytest.mark.matrix
@pytest.mark.usefixtures("logs")
def test_legend_and_progress_keep_their_colours_where_a_reader_sets_their_own(
    chromium: Browser, serve_site: Any
) -> None:
    context = chromium.new_context(forced_colors="active")
    page = context.new_page()
    shown(page, serve_site)
    colors = page.locator("run-view .legend .swatch[class*=c-]").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(colors)) == len(colors) > 3
    progress = page.locator("run-view progress")
    assert progress.evaluate("(e) => e.getBoundingClientRect().height") >= 5
    assert progress.evaluate("(e) => getComputedStyle(e).borderTopWidth") == "1px"
    context.close()
