"""The list of runs in a real browser: found, sorted, chosen and compared."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from accessibility import objections
from browser.door import door
from browser.run_reader import write, written
from conftest import Server, StaticSite


def rows(page: Page) -> Locator:
    return page.locator("run-list tbody tr[data-key^='live:']")


def row(page: Page, name: str) -> Locator:
    return page.locator(f"run-list tr[data-key='live:{name}']")


def press(page: Page, name: str) -> None:
    page.locator("run-list").get_by_role("button", name=name, exact=True).click()


@pytest.fixture
def listed(server: Server, page: Page) -> Page:
    """A page over three runs."""
    for name, steps in (("one", "10"), ("two", "20"), ("three", "30")):
        written(server.runs, name, "--steps", steps, "--end", "finished")
    page.goto(door(server.url, "runs"))
    expect(rows(page)).to_have_count(3)
    return page


def test_runs_are_found_sorted_and_opened_by_the_keyboard(listed: Page) -> None:
    page = listed
    expect(row(page, "two")).to_contain_text("20 of 20")
    page.locator("run-list").get_by_role("button", name="Step").focus()
    page.keyboard.press("Enter")
    assert [each.get_attribute("data-key") for each in rows(page).all()] == [
        *("live:three", "live:two", "live:one")
    ]
    row(page, "three").get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?run=two"))
    expect(row(page, "two")).to_have_attribute("aria-current", "true")
    page.get_by_label("Search runs").fill("THREE finished")
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Search runs").fill("nothing of the kind")
    expect(page.locator("run-list tbody")).to_have_text("No run matches.")
    assert not objections(page, "run-list")


def test_chosen_runs_are_compared(listed: Page) -> None:
    page = listed
    page.get_by_label("Choose every run that is listed").check()
    row(page, "three").get_by_role("checkbox").uncheck()
    assert not objections(page, "run-list")
    press(page, "Compare")
    expect(page).to_have_url(re.compile(r"compare=(one,two|two,one)"))
    expect(page.locator("run-compare run-chart canvas").first).to_be_visible()


def test_a_run_that_trains_moves_in_the_list(server: Server, page: Page) -> None:
    written(server.runs, "done", "--steps", "5", "--end", "finished")
    with write(server.runs, "now", "--steps", "400", "--pace", "0.2") as writer:
        page.goto(door(server.url, "runs"))
        before = row(page, "now").inner_text()
        row(page, "now").get_by_role("checkbox").check()
        expect(row(page, "now")).not_to_have_text(before)
        expect(row(page, "now").get_by_role("checkbox")).to_be_checked()
        writer.kill()
    expect(row(page, "now")).to_contain_text("gone")
    (server.runs / "done" / "events.jsonl").unlink()  # removed by other hands while it is listed
    expect(row(page, "done")).to_have_count(0)


def test_columns_stay_chosen(listed: Page) -> None:
    page = listed
    page.locator(".run-list-columns summary").click()
    page.locator(".run-list-columns").get_by_label("Took").check()
    page.locator(".run-list-columns").get_by_label("Model").uncheck()
    page.reload()
    heads = page.locator("run-list thead th")
    expect(heads.filter(has_text="Took")).to_be_visible()
    expect(heads.filter(has_text="Model")).to_have_count(0)


def test_recordings_are_listed_and_opened(page: Page, serve_site: Server) -> None:
    page.goto(serve_site.url.replace("#", "runs/#"))
    recording = page.locator("run-list tr[data-key='recording:demo.jsonl']")
    recording.get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"\?recording=demo\.jsonl"))


def test_a_recording_opens_by_its_name_alone_and_an_unknown_one_is_answered_with_those_there(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(f"{static_site.url}runs/?recording=demo")
    expect(page.locator("run-view")).to_have_attribute("data-state", "finished")
    opened = page.locator("run-list tr[data-key='recording:demo.jsonl']")
    expect(opened).to_have_attribute("aria-current", "true")
    page.allowed_errors += ["Failed to load resource"]  # type: ignore[attr-defined]
    page.goto(f"{static_site.url}runs/?recording=memo")
    said = page.locator("run-view .run-notice")
    expect(said).to_contain_text("The recording memo.jsonl cannot be read (404). This site has")
    expect(said).to_contain_text("demo.jsonl")


def test_a_long_name_and_a_small_screen_fit(server: Server, page: Page) -> None:
    for name in ("n" * 200, "<img src=x onerror=alert(1)>"):
        written(server.runs, name, "--steps", "5", "--end", "finished")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(door(server.url, "runs"))
    expect(rows(page)).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("run-list img").count() == 0
