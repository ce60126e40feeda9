"""Runs over one another in a real browser: recordings of the site, by an address that was sent."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from accessibility import objections
from browser.run_reader import written
from conftest import Server
from gpu_runner.installed import short
from gpu_runner.log.writer import log_later

TWO = "runs/?compare=demo.jsonl,demo-careful.jsonl"
_INDEX = json.loads(Path("web/recordings/index.json").read_text("utf-8"))
RIGHT = [f"{entry['run']['task']['right']} of 64" for entry in _INDEX[:2]]


def table(page: Page) -> dict[str, list[str]]:
    """The cells of each row by its first one."""
    rows = page.locator("run-compare data-table tbody tr").all()
    texts = [row.locator("th, td").all_inner_texts() for row in rows]
    return {first: rest for first, *rest in texts}


def test_an_address_shows_what_differs_curves_and_the_plane(page: Page, serve_site: Server) -> None:
    page.goto(serve_site.url.replace("#", f"{TWO}#"))
    expect(page.locator("run-compare run-chart canvas")).to_have_count(3)
    found = table(page)
    assert found["lr"] == ["0.001", "0.0001"]
    assert "seed" not in found
    assert found["Right answers, task"] == RIGHT
    sentences = page.locator("run-compare li")
    expect(sentences.first).to_contain_text("Run 2 and run 1 on the task: run 2 is 1.0")
    expect(page.locator("run-compare")).to_contain_text("256 examples")
    plane = page.locator("run-compare .page-run-dot-run")
    expect(plane).to_have_count(2)
    assert not objections(page, "run-compare")


def test_an_address_may_name_recordings_without_their_ending(
    page: Page, serve_site: Server
) -> None:
    page.allowed_errors.append("404")  # type: ignore[attr-defined]
    page.goto(serve_site.url.replace("#", "runs/?compare=demo,demo-careful#"))
    expect(page.locator("run-compare run-chart canvas")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"compare=demo\.jsonl,demo-careful\.jsonl"))


def test_a_comparison_of_runs_that_are_all_absent_says_so(page: Page, serve_site: Server) -> None:
    page.allowed_errors.append("404")  # type: ignore[attr-defined]
    page.goto(serve_site.url.replace("#", "runs/?compare=neither,nor#"))
    said = page.locator(".run-list-actions [role=status]")
    expect(said).to_be_visible()
    expect(said).to_contain_text("Not here: neither, nor.")


def test_runs_are_chosen_by_the_keyboard_and_stay_in_the_address(
    page: Page, serve_site: Server
) -> None:
    page.goto(serve_site.url.replace("#", "runs/#"))
    for name in ("demo.jsonl", "smollm2.jsonl"):
        box(page, name).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"compare=demo\.jsonl,smollm2\.jsonl"))
    expect(page.locator("run-compare run-chart canvas").first).to_be_visible()
    page.get_by_label("Over").select_option("tokens")
    page.get_by_label("Moving average").check()
    page.get_by_label("Also").select_option("opt/lr")
    page.locator("run-compare .run-stage").last.focus()
    page.keyboard.press("Home")
    page.keyboard.press("+")
    how = r"over=tokens&smooth=1&range=\d+-\d+&also=opt%2Flr"
    expect(page).to_have_url(re.compile(how))
    page.reload()
    charts = page.locator("run-compare run-chart")
    expect(charts.last.locator(".run-chart-title")).to_have_text("Learning rate")
    expect(charts.first.get_by_role("button", name="Show all steps")).to_be_visible()
    assert page.get_by_label("Over").input_value() == "tokens"
    expect(page).to_have_url(re.compile(how))
    box(page, "demo.jsonl").uncheck()
    expect(page.locator("run-compare data-table")).to_have_count(0)
    expect(page.locator("run-view")).to_be_visible()
    expect(page).not_to_have_url(re.compile("compare="))


def test_what_is_shown_changes_in_place_and_back_leads_to_what_was(
    page: Page, serve_site: Server
) -> None:
    page.goto(serve_site.url.replace("#", "runs/?recording=demo.jsonl#"))
    page.evaluate("() => (window.stays = true)")
    for name in ("demo.jsonl", "demo-careful.jsonl"):
        box(page, name).check()
    page.get_by_role("button", name="Compare").click()
    heads = page.locator("run-compare data-table thead th")
    expect(heads).to_have_count(3)
    expect(page.locator("run-view")).to_be_hidden()
    box(page, "smollm2.jsonl").check()
    expect(heads).to_have_count(4)
    page.locator("run-list tr[data-key='recording:smollm2.jsonl'] a").click()
    expect(page.locator("run-view .run-log")).to_contain_text("none missing")
    assert page.locator("run-compare").inner_text() == ""
    page.go_back()
    expect(heads).to_have_count(4)
    page.go_back()
    expect(page).to_have_url(re.compile(r"recording=demo\.jsonl"))
    shown = page.locator("run-list tr[aria-current]")
    expect(shown).to_have_attribute("data-key", "recording:demo.jsonl")
    page.go_forward()
    expect(heads.nth(3)).to_contain_text("SmolLM2")
    assert page.evaluate("() => window.stays")


def test_a_log_file_is_laid_over_a_recording_and_in_no_address(
    page: Page, serve_site: Server, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    scored(Path("web/recordings/demo.jsonl"), "mine", 0.0, tmp_path / "runs")
    shutil.copy(tmp_path / "runs" / "mine" / "events.jsonl", file)
    page.goto(serve_site.url.replace("#", "runs/?compare=demo-careful.jsonl#"))
    expect(box(page, "demo-careful.jsonl")).to_be_checked()
    page.locator("run-list input[type=file]").set_input_files(file)
    page.locator("run-list tr[data-key='file:mine.jsonl'] input").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("run-compare run-chart canvas")).to_have_count(3)
    assert table(page)["lr"] == ["0.0001", "0.001"]
    assert "mine" not in page.url
    (tmp_path / "other").mkdir()
    half = tmp_path / "other" / "mine.jsonl"  # another one of that name, which was never finished
    half.write_bytes(file.read_bytes()[:60_000])
    page.locator("run-list input[type=file]").set_input_files(half)
    heads = page.locator("run-compare data-table thead th").filter(has_text="mine")
    expect(heads).to_have_text(["2 · mine.jsonl", "3 · mine.jsonl (2)"])
    assert table(page)["Status"] == ["finished", "finished", "not ended in this file"]
    actions = page.locator("run-list .run-list-actions")
    expect(actions).to_contain_text("Not in the address: mine.jsonl, mine.jsonl (2)")


def box(page: Page, recording: str) -> Locator:
    return page.locator(f"run-list tr[data-key='recording:{recording}'] input")


def saved(page: Page, button: str, place: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).first.click()
    file = place / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_points_and_charts_of_a_comparison_are_saved(
    page: Page, serve_site: Server, tmp_path: Path
) -> None:
    page.goto(serve_site.url.replace("#", f"{TWO}#"))
    expect(page.locator("run-compare run-chart canvas")).to_have_count(3)
    with saved(page, "Save as CSV", tmp_path).open(newline="") as text:
        found = list(csv.DictReader(text))
    assert {row["run"] for row in found} == {"demo.jsonl", "demo-careful.jsonl"}
    assert sum(row["train/loss"] != "" for row in found) == 400
    page.locator("run-compare .run-stage").first.hover()
    svg = saved(page, "SVG", tmp_path)
    assert svg.name == "loss-on-the-task.svg"
    assert svg.read_text("utf-8").count("<path") > 4
    assert saved(page, "PNG", tmp_path).read_bytes().startswith(b"\x89PNG")


def test_what_is_saved_while_a_long_log_is_read_is_all_of_it(
    page: Page, serve_site: Server, tmp_path: Path
) -> None:
    steps = 20_000
    for name in ("whole1", "whole2"):
        written(serve_site.runs, name, "--steps", f"{steps}", "--end", "finished")
    page.goto(serve_site.url.replace("#", "runs/?compare=whole1,whole2#"))
    page.locator("run-compare button", has_text="Save as CSV").wait_for()
    with saved(page, "Save as CSV", tmp_path).open(newline="") as text:
        found = list(csv.DictReader(text))
    assert sum(row["train/loss"] != "" for row in found) == 2 * steps


def scored(log: Path, run: str, shift: float, runs: Path) -> None:
    """Write a log again as `run`, whose evaluations name the loss of each example."""
    lines = []
    for line in log.read_text("utf-8").splitlines():
        event: dict[str, Any] = json.loads(line) | {"run": run}
        if event["kind"] == "eval":
            event["examples"] = "5e7" if event["suite"] == "task" else "9e4"
            event["row_losses"] = [event["loss"] + shift + n % 3 / 10 for n in range(12)]
        lines.append(json.dumps(event))
    (runs / run).mkdir(parents=True)
    (runs / run / "events.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def test_runs_of_this_machine_and_recordings_keep_the_order_of_the_address(
    page: Page, serve_site: Server
) -> None:
    scored(Path("web/recordings/demo.jsonl"), "mixed", 0.0, serve_site.runs)
    page.goto(serve_site.url.replace("#", "runs/?compare=demo-careful.jsonl,mixed,smollm2.jsonl#"))
    heads = page.locator("run-compare data-table thead th")
    expect(heads).to_have_count(4)
    assert table(page)["lr"] == ["0.0001", "0.001", "0.00005"]
    assert "compare=demo-careful.jsonl,mixed,smollm2.jsonl" in page.url
    shutil.copytree(serve_site.runs / "mixed", serve_site.runs / "copied")
    page.goto(serve_site.url.replace("#", "runs/?run=copied#"))
    expect(page.locator("run-view .run-log")).to_contain_text("copied · ")
    page.goto("about:blank")


@pytest.mark.slow
def test_a_difference_is_named_with_its_interval_or_not_called_one(
    page: Page, site: Path, tmp_path: Path
) -> None:
    runs, log = tmp_path / "runs", Path("web/recordings/demo.jsonl")
    for name, shift in (("one", 0.0), ("same", 0.0), ("worse", 0.5)):
        scored(log, name, shift, runs)
    server = Server(site, runs, tmp_path / "server.log")
    server.start()
    try:
        page.allowed_errors.append("404")  # type: ignore[attr-defined]
        page.goto(server.url.replace("#", "runs/?compare=one,same,worse,gone#"))
        said = page.locator(".run-compare-differences")
        expect(page.locator("run-compare data-table thead th")).to_have_count(4)
        expect(said).to_contain_text("Run 2 and run 1 on the task: no difference that 12 examples")
        expect(said).to_contain_text("Run 3 and run 1 on the task: run 3 is 0.500 nats higher")
        page.locator("run-compare .chip", has_text="3").click()
        expect(said).to_contain_text("Run 1 and run 3 on the task: run 1 is 0.500 nats lower")
        expect(page).to_have_url(re.compile("against=3"))
        page.locator("run-compare .chip", has_text="1").click()
        absent = page.locator(".run-list-actions [role=status]")
        expect(absent).to_contain_text("Not here: gone.")
        shutil.rmtree(runs / "same")  # removed while it is compared
        expect(absent).to_contain_text("Not here: same, gone.")
        expect(said).to_contain_text("run 3 is 0.500 nats higher")
        page.goto("about:blank")  # leaves before the server does
    finally:
        server.stop()


def blended(alpha: float, right: int, kept: int, **name: str) -> dict[str, Any]:
    change = {"value": -0.25, "interval": [-0.5, 0.0]}
    task = {"loss": 1.0, "exact": right, "of": 64, "change": change}
    return {"alpha": alpha, "sets": {"task": task, "general": {**task, "exact": kept}}, **name}


def test_a_blend_that_ends_while_the_page_is_open_appears_on_the_plane(
    page: Page, serve_site: Server
) -> None:
    scored(Path("web/recordings/demo.jsonl"), "back", 0.0, serve_site.runs)
    page.goto(serve_site.url.replace("#", "runs/?run=back#"))
    expect(page.locator("run-view")).to_contain_text(
        f"unfrozen blend --runs {short(serve_site.runs)} back"
    )
    assert page.locator(".plane-point").count() == 0
    points = [blended(0, 0, 60), blended(0.8, 50, 58), blended(1, 62, 30)]
    restored = blended(1, 40, 60, name="layers.0 put back")
    said = {"how": "", "chosen": 0.8, "reason": "it keeps most"}
    told = [said | {"begins": True, "points": points}, said | {"points": [restored]}]
    assert log_later(serve_site.runs / "back", "blend", 200, told) == ""
    found = page.locator("run-view .plane-point")
    expect(found).to_have_count(4)
    expect(page.locator("run-view")).to_contain_text("α = 0.8 is chosen: it keeps most.")
    expect(page.locator("run-view")).not_to_contain_text("To win back")
    expect(page.locator("run-view")).to_have_attribute("data-state", "finished")
    page.locator(".plane-point-chosen").focus()
    says = page.locator(".plane-point-chosen .plane-says")
    expect(says.nth(1)).to_be_visible()
    expect(says.nth(1)).to_have_text("learned 50 of 64, −0.250 (−0.500 to +0.000)")
    page.keyboard.press("Tab")
    expect(says.nth(1)).to_be_hidden()
    assert not objections(page, "run-view .run-way-back")
    page.goto(serve_site.url.replace("#", "runs/?compare=back,demo-careful.jsonl#"))
    expect(page.locator("run-compare .plane-point")).to_have_count(4)
    page.goto("about:blank")


def test_a_log_of_a_newer_version_is_drawn_and_said_to_be_one(
    page: Page, serve_site: Server
) -> None:
    (serve_site.runs / "newer").mkdir()
    lines = []
    for line in Path("web/recordings/demo.jsonl").read_text("utf-8").splitlines():
        event: dict[str, Any] = json.loads(line) | {"run": "newer", "v": 2}
        if event["kind"] == "metrics":
            event["m"]["zoo/elephants"] = event["step"]
        if event["kind"] != "run.end":  # killed
            lines.append(json.dumps(event) + "\n")
    (serve_site.runs / "newer" / "events.jsonl").write_text("".join(lines), "utf-8")
    page.goto(serve_site.url.replace("#", "runs/?run=newer#"))
    expect(page.locator("run-view .run-log")).to_contain_text("written in version 2 of the format")
    expect(page.locator("run-view .run-others")).to_contain_text("zoo/elephants")
    page.goto(serve_site.url.replace("#", "runs/?compare=newer,demo-careful.jsonl#"))
    expect(page.locator("run-compare run-chart canvas")).to_have_count(3)
    expect(page.locator("run-compare tr", has_text="Status")).to_have_text("Statusgonefinished")
    page.goto("about:blank")
