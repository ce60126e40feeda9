"""The planner's fields take what a reader means, and give back what was there before."""

import pytest
from playwright.sync_api import expect

from browser.planner_reader import PlannerReader

CHAPTERS = ("the-planner",)

DEFAULT = "meta-llama/Llama-3.1-8B"


def test_typing_after_a_model_was_chosen_begins_a_new_search(planner: PlannerReader) -> None:
    search = planner.control("model")
    search.click()
    planner.page.keyboard.type("llama3.1 70b")
    planner.page.keyboard.press("Enter")
    expect(search).to_have_value("meta-llama/Llama-3.1-70B")
    planner.page.keyboard.type("qwen3 8b")
    expect(search).to_have_value("qwen3 8b")
    planner.page.keyboard.press("Enter")
    expect(search).to_have_value("Qwen/Qwen3-8B")
    search.click()
    planner.page.keyboard.type("phi4")
    expect(search).to_have_value("phi4")
    planner.page.keyboard.press("Enter")
    planner.settle("#planner?model=microsoft/phi-4")


def test_escape_gives_a_search_up_even_where_it_found_nothing(planner: PlannerReader) -> None:
    search = planner.control("model")
    search.click()
    planner.page.keyboard.type("no such model")
    expect(planner.root.locator(".field-note")).to_contain_text("No model of the list")
    planner.page.keyboard.press("Escape")
    expect(search).to_have_value(DEFAULT)
    expect(planner.root.locator(".field-note")).to_be_empty()
    assert planner.plan == ""


def test_a_version_with_instructions_is_found_as_its_base_and_says_why(
    planner: PlannerReader,
) -> None:
    planner.control("model").fill("Llama-3.2-3B-Instruct")
    expect(planner.root.locator("[role=option]:visible")).to_have_count(1)
    expect(planner.root.locator(".field-note")).to_contain_text("tensors of its base")
    planner.page.keyboard.press("Enter")
    planner.settle("#planner?model=meta-llama/Llama-3.2-3B")


@pytest.mark.parametrize(
    ("key", "typed", "shown"),
    [("seq_len", "4k", "4096"), ("tokens", "1e9", "1,000,000,000"), ("gpus", "1e1", "10")],
)
def test_a_number_is_understood_and_an_emptied_field_falls_back(
    planner: PlannerReader, key: str, typed: str, shown: str
) -> None:
    if key == "tokens":
        planner.fold("settings")
    field = planner.control(key)
    before = field.input_value()
    field.fill(typed)
    field.blur()
    expect(field).to_have_value(shown, timeout=90_000)
    planner.settle(f"#planner?{key}={shown.replace(',', '')}")
    field.fill("")
    field.blur()
    expect(field).to_have_value(before)
    planner.settle("#planner")


def test_a_name_of_the_command_line_stands_in_the_list_of_gpus(planner: PlannerReader) -> None:
    planner.page.evaluate("() => { location.hash = 'planner?gpu=H100' }")
    expect(planner.control("gpu")).to_have_value("H100 SXM")
    planner.wait("live")


def test_a_unit_is_a_word_of_its_own_to_a_screen_reader(planner: PlannerReader) -> None:
    expect(planner.root.get_by_role("textbox", name="Sequence length tokens")).to_be_visible()
    expect(planner.root.get_by_role("textbox", name="Micro-batch size sequences")).to_be_visible()
