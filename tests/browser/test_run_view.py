"""The run view in a real browser, on real logs: live, finished, diverged, dropped, recorded."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.run_reader import RunReader, reaches, write, written
from conftest import watched_page
from slowness import slowness

CHAPTERS = ("run-it-for-real",)

# How many pixels in the upper third of a chart have the colour of its line.
INK_ABOVE = """(chart) => {
  const canvas = chart.querySelector('canvas');
  const [left, width] = [canvas.width * 0.2, canvas.width * 0.7];
  const image = canvas.getContext('2d').getImageData(left, 0, width, canvas.height * 0.3);
  const ink = getComputedStyle(chart).getPropertyValue('--series-1').trim();
  const wanted = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
  let found = 0;
  for (let at = 0; at < image.data.length; at += 4) {
    const off = wanted.map((value, place) => Math.abs(value - image.data[at + place]));
    if (Math.max(...off) < 20) found += 1;
  }
  return found;
}"""

# A log of 100,000 events with one spike, given to the view as a file; by the page's own clock.
REPLAY = """async () => {
  const view = document.querySelector('run-view');
  const lines = Array.from({ length: 100_000 }, (_, seq) => JSON.stringify({
    v: 1, run: 'long', seq, att: 0, t: 1, rt: 1, kind: 'metrics', step: seq,
    m: { 'train/loss': seq === 54_321 ? 50 : 2, 'opt/lr': 1e-5 } }));
  const file = new File([lines.join('\\n') + '\\n'], 'long.jsonl');
  const started = performance.now();
  view.dispatchEvent(new CustomEvent('choose', { detail: { kind: 'file', file } }));
  const passed = (reached) => new Promise((resolve) => {
    const look = () => (reached() ? resolve(performance.now() - started) : setTimeout(look, 5));
    look();
  });
  const replayMs = await passed(() => view.state.lastSeq === 99_999);
  const drawnMs = await passed(() => view.dataset.state === 'unfinished-log');
  return { replayMs, drawnMs, events: view.state.events };
}"""
# How long after its time each line is on the screen.
WATCH_DELAYS = """() => {
  const view = document.querySelector('run-view');
  window.delays = [];
  let seen = -1;
  const look = () => {
    const s = view.state;
    if (s.run === 'live-1' && s.lastSeq > seen && view.querySelector('.run-step')) {
      if (seen >= 0) window.delays.push(Date.now() / 1000 - s.lastTime);
      seen = s.lastSeq;
    }
    requestAnimationFrame(look);
  };
  look();
}"""


@pytest.fixture
def reader(page: Page, serve_site: Any) -> RunReader:
    return RunReader(page, serve_site.url)


@pytest.fixture(scope="module")
def chooser(chromium: Browser, serve_site: Any) -> Iterator[RunReader]:
    """One page for all that choose what it shows."""
    with watched_page(chromium.new_context()) as page:
        yield RunReader(page, serve_site.url)


def text(page: Page, selector: str) -> str:
    shown: str = page.locator(f"run-view {selector}").inner_text()
    return shown.replace("\u00a0", " ")


def test_the_token_leaves_the_address_and_survives_a_reload(reader: RunReader) -> None:
    page = reader.page
    assert "#" not in page.url
    assert page.evaluate("sessionStorage.getItem('unfrozen-token')")
    page.reload()
    reader.wait(lambda: page.locator("runner-status").inner_text().startswith("Runner: "), "runner")
    assert page.locator("runner-status").get_attribute("data-state") != "absent"


def test_a_live_run_arrives_whole_each_line_within_150_ms_and_ends(
    reader: RunReader, serve_site: Any
) -> None:
    options = ("--steps", "60", "--pace", "0.03", "--linger", "--end", "finished")
    reader.page.evaluate(WATCH_DELAYS)
    with write(serve_site.runs, "live-1", *options) as trainer:
        reader.wait(lambda: reader.brief["run"] == "live-1", "live-1")
        reader.wait_notice("live")
        trainer.send_signal(signal.SIGUSR1)
        reader.wait_notice("finished")
    delays = sorted(reader.page.evaluate("window.delays"))
    assert len(delays) >= 5
    assert delays[len(delays) // 2] < 0.15 * slowness()
    state = reader.state
    events = (serve_site.runs / "live-1" / "events.jsonl").read_text().splitlines()
    assert (state["lastSeq"], state["events"]) == (len(events) - 1, len(events))
    assert (state["gaps"], state["duplicates"], state["unknownKinds"]) == (0, 0, 0)
    assert state["series"]["train/loss"]["x"] == list(range(1, 61))
    page = reader.page
    assert "Step 60 of 60" in text(page, ".run-head")
    assert "1.84 million parameters" in text(page, ".run-head")
    last = json.loads(next(line for line in reversed(events) if '"suite":"general"' in line))
    assert f"+{last['delta']:.3f} since step 0" in text(page, ".run-numbers")
    assert "none missing" in text(page, ".run-log")


def test_numbers_that_stop_being_numbers_show_as_divergence(
    chooser: RunReader, serve_site: Any
) -> None:
    options = ("--steps", "50", "--nan-at", "20", "--until", "25", "--end", "failed")
    written(serve_site.runs, "nan-1", *options)
    chooser.choose("live:nan-1")
    chooser.wait_notice("diverged")
    assert "became NaN or infinite at step 20. The test said so." in text(
        chooser.page, ".run-state"
    )
    assert text(chooser.page, ".run-numbers dd >> nth=0") == "NaN"


def test_a_silent_trainer_is_called_stalled_a_killed_one_gone_and_a_resumed_one_comes_back(
    reader: RunReader, serve_site: Any
) -> None:
    with write(serve_site.runs, "killed", "--steps", "100", "--until", "10", "--hang") as trainer:
        reader.wait(lambda: reader.brief["run"] == "killed", "killed")
        reader.wait_notice("stalled")  # it promised a beat a second, and is patiently waited for
        assert "promised a heartbeat every 1 s" in text(reader.page, ".run-state")
        trainer.kill()
    reader.wait_notice("trainer-gone")
    step = reader.brief["step"]
    assert f"ended after step {step}" in text(reader.page, ".run-state")
    expect(reader.row("live:killed")).to_contain_text("gone")
    resume = ("--steps", "100", "--first", str(step - 2), "--until", str(step + 5))
    with write(serve_site.runs, "killed", *resume, "--end", "stopped"):
        reader.wait_notice("stopped")
    state = reader.state
    assert state["series"]["train/loss"]["x"] == list(range(1, step + 6))
    assert state["series"]["train/loss"]["old"][0]["x"] == [step - 2, step - 1, step]
    assert (state["gaps"], state["duplicates"], len(state["attempts"])) == (0, 0, 1)


def test_a_dropped_file_is_read_like_a_run(chooser: RunReader, tmp_path: Path) -> None:
    path = written(tmp_path, "elsewhere", "--steps", "30", "--end", "finished")
    with path.open("a") as file:
        file.write('damage\n{"v":1,"run":"elsewh')
    chooser.page.locator("run-list input[type=file]").set_input_files(path)
    chooser.wait(lambda: chooser.brief["run"] == "elsewhere", "the file")
    chooser.wait(lambda: "2 damaged lines" in text(chooser.page, ".run-log"), "the damage")
    assert chooser.state["series"]["train/loss"]["x"] == list(range(1, 31))
    chooser.wait_notice("finished")


def test_a_file_that_is_no_log_is_said_to_be_none(chooser: RunReader, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("<b>no</b>\nlog\n")
    chooser.page.locator("run-list input[type=file]").set_input_files(tmp_path / "notes.txt")
    chooser.wait_notice("not-readable")
    assert "notes.txt holds no event of a run" in text(chooser.page, ".run-state")


def test_text_from_a_log_is_never_markup(chooser: RunReader, tmp_path: Path) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    head = {"run": evil, "att": 0, "t": 1.0, "step": 1}
    events: list[dict[str, Any]] = [
        {"kind": "run.start", "model": {"name": evil}, "hardware": {"device": evil}},
        {"kind": "alert", "level": 'warn" onclick="x', "text": evil},
        {"kind": "sample", "prompt": evil, "text": evil, "when": "before"},
        {"kind": "eval", "suite": evil, "loss": 1, "delta": 0, "baseline": 1},
        {"kind": "mem", "instant": evil, "components": {"params": 5}, "total_bytes": 5},
        {"kind": "metrics", "m": {evil: 1.0}},
        {"kind": "run.end", "status": "failed", "reason": evil},
    ]
    lines = [json.dumps({**head, "seq": seq, **event}) for seq, event in enumerate(events)]
    path = tmp_path / "evil.jsonl"
    path.write_text("\n".join(lines) + "\n")
    chooser.page.locator("run-list input[type=file]").set_input_files(path)
    chooser.wait_notice("failed")
    chooser.page.locator("run-view summary", has_text="as tables").click()
    chooser.page.locator("run-view data-table table").first.wait_for()
    assert chooser.page.title() != "owned"
    assert chooser.page.locator("run-view img, run-view script, run-view [onclick]").count() == 0
    assert evil in text(chooser.page, ".run-model")


@pytest.mark.matrix
def test_a_hundred_thousand_events_replay_in_two_seconds(reader: RunReader) -> None:
    measured = reader.page.evaluate(REPLAY)
    assert measured["events"] == 100_000
    assert measured["replayMs"] < 2000 * slowness()
    assert measured["drawnMs"] < 3000 * slowness()
    chart = reader.page.locator("run-view run-chart").first
    chart.scroll_into_view_if_needed()
    reaches(chart, 99_999)
    reader.wait(lambda: chart.evaluate(INK_ABOVE) > 10, "sight of one step in a hundred thousand")
