"""What a run view says, aloud and in words, while a run goes on and while its log is read."""

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import LISTEN, announced
from browser.run_reader import RunReader, write, written
from conftest import Server

CHAPTERS = ("run-it-for-real", "when-a-run-goes-wrong")

WATCH_STATES = """() => {
  const view = document.querySelector('run-view');
  window.states = [];
  new MutationObserver(() => {
    if (window.states.at(-1) !== view.dataset.state) window.states.push(view.dataset.state);
  }).observe(view, { attributeFilter: ['data-state'] });
}"""


def verdicts(page: Page) -> list[str]:
    """The states shown since WATCH_STATES, but for those of a log that is still being read."""
    states = page.evaluate("window.states")
    return [state for state in states if state not in ("connecting", "reading")]


def test_a_hundred_steps_are_reported_in_a_dozen_sentences(server: Server, page: Page) -> None:
    reader = RunReader(page, server.url)
    reader.wait_notice("no-run-yet")
    page.evaluate(LISTEN)
    with write(server.runs, "demo", "--steps", "100", "--pace", "0.03", "--end", "finished"):
        reader.wait_notice("finished")
    page.wait_for_timeout(300)
    said = announced(page)
    assert len(said) <= 12
    assert said[0].startswith("Live. Step ")
    assert any("Evaluated at step" in text and "Task loss" in text for text in said)
    assert any("Alert: general loss is 0.25 nats above step 0." in text for text in said)
    assert "Finished. " in said[-1]
    assert len(said) == len(set(said))
    page.get_by_role("link", name="What to try first").click()
    expect(page.locator("#when-a-run-goes-wrong")).to_be_in_viewport()


@pytest.mark.matrix
def test_a_log_that_is_half_read_is_given_no_verdict(server: Server, page: Page) -> None:
    written(server.runs, "long", "--steps", "30000", "--end", "finished")
    reader = RunReader(page, server.origin)
    reader.wait_notice("no-token-in-this-address")
    page.evaluate(WATCH_STATES)
    page.evaluate("(token) => { location.hash = `t=${token}`; }", server.token)
    reader.wait_notice("finished")
    assert verdicts(page) == ["finished"]


def test_a_run_whose_trainer_was_killed_is_reported_so_once_it_is_read(
    server: Server, page: Page
) -> None:
    log = written(server.runs, "killed", "--steps", "2000")
    with log.open("a") as file:
        file.write('{"v":1,"run":"killed"')  # a line that it never finished
    reader = RunReader(page, server.origin)
    reader.wait_notice("no-token-in-this-address")
    page.evaluate(WATCH_STATES)
    page.evaluate("(token) => { location.hash = `t=${token}`; }", server.token)
    reader.wait_notice("trainer-gone")
    assert reader.brief["step"] == 2000
    assert verdicts(page) == ["trainer-gone"]


def test_an_address_without_its_token_says_which_one_to_open(server: Server, page: Page) -> None:
    written(server.runs, "one", "--steps", "5", "--end", "finished")
    reader = RunReader(page, server.origin)
    reader.wait_notice("no-token-in-this-address")
    words = page.locator("run-view .run-state").inner_text()
    assert "Open the address that the server printed" in words
    expect(page.locator("runner-status")).to_have_text("No token in this address")
    page.evaluate("(token) => { location.hash = `t=${token}`; }", server.token)
    reader.wait_notice("finished")


def test_a_second_tab_of_a_contents_link_says_it_too(chromium: Browser, server: Server) -> None:
    context = chromium.new_context()
    first = RunReader(context.new_page(), server.url)
    link = first.page.locator(".top-pages [aria-current]")
    with context.expect_page() as opened:
        link.click(modifiers=["ControlOrMeta"])
    second = RunReader(opened.value)
    second.wait(lambda: second.notice in ("no-token-in-this-address", "no-run-yet"), "a word")
    context.close()
