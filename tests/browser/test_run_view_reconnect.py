"""The server dies again and again under an open page while a real log grows: nothing is missed."""

import signal

import pytest
from playwright.sync_api import Page

from browser.run_reader import RunReader, write, written
from conftest import Server

CHAPTERS = ("run-it-for-real",)

KILLS = 10
# What a browser does to a hidden tab, once what was asked for before is drawn.
HOLD = """() => new Promise((done) => {
  const frame = window.requestAnimationFrame.bind(window);
  window.held = [];
  window.requestAnimationFrame = (draw) => held.push(draw);
  frame(() => frame(() => done()));
})"""
EXPECTED_ON_THE_CONSOLE = ["Failed to load resource", "net::ERR_"]


def test_a_server_killed_again_and_again_leaves_no_gap_and_no_repetition(
    page: Page, server: Server, request: pytest.FixtureRequest
) -> None:
    page.allowed_errors += EXPECTED_ON_THE_CONSOLE  # type: ignore[attr-defined]
    reader = RunReader(page, server.url)
    seen = set()
    with write(server.runs, "long", "--steps", "100000", "--pace", "0.1") as trainer:
        reader.wait(lambda: reader.brief["run"] == "long", "the run")
        for kill in range(KILLS if request.config.option.all else 1):
            before = reader.brief["step"]
            reader.wait(lambda at=before: reader.brief["step"] > at, "progress")  # type: ignore[misc]
            if kill % 2 == 0:
                server.kill()
            else:
                server.stop()
            reader.wait_notice("server-gone")
            seen.add(reader.notice)
            server.start()
            reader.wait(lambda: reader.notice in ("back", "live"), "reconnection")
            seen.add(reader.notice)
        trainer.terminate()
    log = server.runs / "long" / "events.jsonl"
    written = log.read_bytes().count(b"\n")
    reader.wait(lambda: bool(reader.brief["lastSeq"] == written - 1), "the last event")
    state = reader.state
    assert (state["events"], state["gaps"], state["duplicates"]) == (written, 0, 0)
    steps = state["series"]["train/loss"]["x"]
    assert steps == list(range(1, len(steps) + 1))
    assert {"server-gone", "back"} <= seen <= {"server-gone", "back", "live"}
    reader.wait_notice("trainer-gone")


def test_a_server_with_a_new_token_says_so_and_lets_the_page_in_by_its_new_address(
    page: Page, server: Server
) -> None:
    page.allowed_errors += [*EXPECTED_ON_THE_CONSOLE, "401"]  # type: ignore[attr-defined]
    reader = RunReader(page, server.url)
    options = ("--steps", "20", "--pace", "0.2", "--linger", "--end", "finished")
    with write(server.runs, "one", *options) as trainer:
        reader.wait(lambda: reader.brief["step"] > 2, "steps")
        server.kill()
        server.token = server.token[::-1]
        server.start()
        reader.wait_notice("access-denied")
        page.evaluate("(token) => { location.hash = `t=${token}`; }", server.token)
        trainer.send_signal(signal.SIGUSR1)
        reader.wait_notice("finished")
    assert "#" not in page.url
    assert reader.brief["gaps"] == 0
    page.evaluate("(token) => { sessionStorage['unfrozen-token'] = token; }", server.token[::-1])
    page.goto("about:blank")
    RunReader(page, server.url).wait_notice("finished")  # also where the tab has the old one


def test_a_link_with_another_token_does_not_take_the_tab_s_away(page: Page, server: Server) -> None:
    page.allowed_errors += ["401"]  # type: ignore[attr-defined]
    written(server.runs, "one", "--steps", "3", "--pace", "0", "--end", "finished")
    RunReader(page, server.url).wait_notice("finished")
    other = f"{server.origin}/runs/#t={'0' * 32}"
    with page.expect_response(lambda answer: answer.status == 401):
        page.evaluate("(address) => { location.href = address; }", other)
    page.goto("about:blank")
    with page.expect_response(lambda answer: answer.status == 401):
        page.goto(other)
    RunReader(page).wait_notice("finished")
    assert page.evaluate("sessionStorage['unfrozen-token']") == server.token
    assert "#" not in page.url


@pytest.mark.matrix
def test_a_page_that_gets_no_frames_folds_and_does_not_draw(server: Server, page: Page) -> None:
    reader = RunReader(page, server.url)
    shown = page.locator("run-view .run-step")
    options = ("--steps", "9000", "--pace", "0.02", "--end", "finished")
    with write(server.runs, "one", *options) as trainer:
        reader.wait(lambda: reader.brief["step"] > 5, "steps")
        shown.wait_for()
        page.evaluate(HOLD)
        drawn, step = shown.inner_text(), reader.brief["step"]
        reader.poll(lambda: reader.brief["step"] > step + 20, "steps that are not drawn")
        trainer.send_signal(signal.SIGUSR1)
        reader.poll(lambda: bool(reader.brief["status"] == "finished"), "the end")
    assert shown.inner_text() == drawn
    assert page.evaluate("held.length") <= 2  # one drawing is asked for, not one an event
    page.evaluate("() => held.splice(0).forEach((draw) => draw(performance.now()))")
    assert shown.inner_text() == f"Step {reader.state['step']} of 9000"
