import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from widgets.node import SVG, Node, example


@pytest.fixture
def plot(page: Page, gallery: str) -> Locator:
    """The live plot of losses of the gallery."""
    page.goto(gallery)
    found = page.locator("#losses")
    expect(found.locator(".plot-stage")).to_be_attached()
    return found


def point_at(page: Page, plot: Locator, share: float) -> None:
    """Put the pointer over the picture, at a share of its width."""
    plot.scroll_into_view_if_needed()
    box = plot.locator(".plot-picture").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)


def test_a_baked_plot_gives_its_data_when_it_turns_live(plot: Locator) -> None:
    assert plot.evaluate("plot => plot.data") == example("losses")


def test_the_live_picture_is_what_the_build_would_bake(plot: Locator, node: Node) -> None:
    width = plot.evaluate("plot => plot.clientWidth")
    baked = node.html("plots/view", "plotView", example("losses"), {"width": width})
    same = """(plot, html) => {
      const parsed = new DOMParser().parseFromString(html, "text/html").querySelector("svg");
      return plot.querySelector(".plot-picture").isEqualNode(parsed);
    }"""
    assert plot.evaluate(same, baked)


def test_pointing_shows_the_nearest_numbers_with_units(page: Page, plot: Locator) -> None:
    point_at(page, plot, 0.5)
    tip = plot.locator(".plot-tip")
    expect(tip.locator(".plot-tip-head")).to_have_text("Step 110")
    values = tip.locator(".plot-tip-value").all_text_contents()
    assert values == ["2.20\u00a0nats", "1.28\u00a0nats", "1.20\u00a0nats"]
    expect(plot.locator(".plot-cursor .plot-dot")).to_have_count(3)
    page.mouse.move(1, 1)
    expect(tip).to_have_count(0)


def test_a_gap_under_the_pointer_is_named(page: Page, plot: Locator) -> None:
    plot.locator(".plot-stage").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(plot.locator(".plot-tip-head")).to_have_text("Step 70")
    expect(plot.locator(".plot-announcement")).to_have_text(
        "Step 70: Task no value, General 2.10\u00a0nats, Predicted task 1.58\u00a0nats"
    )


def test_the_keyboard_walks_the_plot_and_escape_leaves(page: Page, plot: Locator) -> None:
    head = plot.locator(".plot-tip-head")
    plot.locator(".plot-stage").focus()
    for key, expected in (
        ("ArrowRight", "Step 0"), ("ArrowRight", "Step 10"), ("End", "Step 190"),
        ("ArrowRight", "Step 190"), ("Shift+ArrowLeft", "Step 170"), ("Home", "Step 0"),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(head).to_have_text(expected)
    page.keyboard.press("Escape")
    expect(head).to_have_count(0)
    expect(plot.locator(".plot-stage")).to_be_focused()
    page.keyboard.press("Tab")
    expect(plot.get_by_role("button", name="Show data")).to_be_focused()


def test_the_data_can_be_shown_as_a_table_and_hidden(page: Page, plot: Locator) -> None:
    plot.get_by_role("button", name="Show data").focus()
    page.keyboard.press("Enter")
    table = plot.locator("data-table")
    expect(table.locator("tbody tr")).to_have_count(20)
    assert table.locator("thead th").all_inner_texts()[1] == "Task (nats)"
    hide = plot.get_by_role("button", name="Hide data")
    expect(hide).to_be_focused()
    expect(hide).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")
    expect(table).to_have_count(0)


def test_dragging_zooms_and_escape_gives_the_whole_range_back(page: Page, plot: Locator) -> None:
    ticks = plot.locator(".plot-tick")
    before = ticks.all_text_contents()
    point_at(page, plot, 0.3)
    page.mouse.down()
    point_at(page, plot, 0.6)
    expect(plot.locator(".plot-zoom-box")).to_have_count(1)
    page.mouse.up()
    expect(plot.get_by_role("button", name="Whole range")).to_be_visible()
    assert "0" not in ticks.all_text_contents()[-5:]
    assert ticks.all_text_contents() != before
    plot.locator(".plot-stage").focus()
    page.keyboard.press("Escape")
    assert ticks.all_text_contents() == before


@pytest.mark.parametrize("kind", ["svg", "png", "csv"])
def test_the_plot_can_be_saved(page: Page, plot: Locator, kind: str) -> None:
    with page.expect_download() as download:
        plot.get_by_role("button", name=kind.upper(), exact=True).click()
    name = f"it-learns-the-task-and-forgets-the-rest.{kind}"
    assert download.value.suggested_filename == name
    saved = download.value.path().read_bytes()
    if kind == "png":
        assert saved.startswith(b"\x89PNG")
    elif kind == "csv":
        assert saved.startswith(b"Step,Task (nats),General (nats),Predicted task (nats)\r\n0,3.1")
    else:
        tree = ElementTree.fromstring(saved)
        colours = {each.get("stroke") for each in tree.iter(f"{SVG}path")}
        assert "rgb(13, 92, 120)" in colours
        assert all(each.get("class") is None for each in tree.iter() if each is not tree)


@pytest.mark.parametrize(
    "wrong",
    [3, "text", {"lines": 3}, {"x_data": [1], "lines": [{"data": [{}]}]}, [1, 2], [], True],
)
def test_a_wrong_shape_is_drawn_as_an_error_and_throws_nothing(plot: Locator, wrong: Any) -> None:
    plot.evaluate("(plot, wrong) => { plot.data = wrong }", wrong)
    expect(plot.get_by_role("alert")).to_contain_text("This plot could not be drawn")
    plot.evaluate("(plot, right) => { plot.data = [right] }", example("losses"))
    expect(plot.locator(".plot-stage")).to_be_visible()
    assert plot.evaluate("plot => plot.data.title") == example("losses")["title"]


def test_no_value_and_no_numbers_are_drawn_states(plot: Locator) -> None:
    plot.evaluate("plot => { plot.data = null }")
    expect(plot).to_contain_text("No plot yet")
    plot.evaluate("plot => { plot.data = { title: 'Loss', x_data: [], lines: [] } }")
    expect(plot).to_contain_text("Nothing to draw yet")


def test_numbers_that_are_not_finite_are_gaps(plot: Locator) -> None:
    plot.evaluate(
        "plot => { plot.data = { x_data: [1, 2, 3, 4],"
        " lines: [{ label: 'a', data: [1, NaN, Infinity, 2] }] } }"
    )
    expect(plot.locator(".plot-marks .plot-dot")).to_have_count(2)


def test_a_plot_follows_the_width_it_is_given(page: Page, plot: Locator) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    expect(plot.locator(".plot-picture")).to_have_attribute("width", "358")
    assert page.evaluate("document.documentElement.scrollWidth <= 390")
    smallest = plot.locator("svg text").evaluate_all(
        "texts => Math.min(...texts.map(text => text.getBoundingClientRect().height))"
    )
    assert smallest >= 12


def test_a_plot_moved_in_the_page_still_answers(page: Page, plot: Locator) -> None:
    plot.evaluate("plot => document.querySelector('main').prepend(plot)")
    point_at(page, plot, 0.4)
    expect(plot.locator(".plot-tip")).to_be_visible()


def test_new_numbers_keep_the_focus_the_cursor_and_the_open_table(
    page: Page, plot: Locator
) -> None:
    plot.get_by_role("button", name="Show data").click()
    plot.locator(".plot-stage").focus()
    page.keyboard.press("End")
    plot.evaluate("plot => { plot.data = { ...plot.data, title: 'Again' } }")
    expect(plot.locator(".plot-title")).to_have_text("Again")
    expect(plot.locator(".plot-stage")).to_be_focused()
    expect(plot.locator(".plot-tip-head")).to_have_text("Step 190")
    expect(plot.locator("data-table tbody tr")).to_have_count(20)
