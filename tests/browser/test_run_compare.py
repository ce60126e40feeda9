"""Runs over one another in a real browser: recordings of the site, by an address that was sent."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accessibility import objections
from conftest import Server

TWO = "runs/?compare=demo.jsonl,demo-careful.jsonl"


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
    assert found["Right answers, task"] == ["62 of 64", "5 of 64"]
    plane = page.locator("run-compare .page-run-dot-run")
    expect(plane).to_have_count(2)
    assert not objections(page, "run-compare")


def test_runs_are_chosen_by_the_keyboard_and_stay_in_the_address(
    page: Page, serve_site: Server
) -> None:
    page.goto(serve_site.url.replace("#", "runs/#"))
    page.locator("run-compare summary").focus()
    page.keyboard.press("Enter")
    for name in ("demo.jsonl", "smollm2.jsonl"):
        page.locator(f'run-compare input[value="{name}"]').focus()
        page.keyboard.press("Space")
    expect(page).to_have_url(re.compile(r"compare=demo\.jsonl,smollm2\.jsonl"))
    expect(page.locator("run-compare run-chart canvas").first).to_be_visible()
    page.get_by_label("Over").select_option("tokens")
    page.locator('run-compare input[name="smooth"]').check()
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
    page.locator("run-compare summary").click()
    page.locator('run-compare input[value="demo.jsonl"]').uncheck()
    expect(page.locator("run-compare data-table")).to_be_hidden()


def test_a_log_file_is_laid_over_a_recording_and_in_no_address(
    page: Page, serve_site: Server, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    scored(Path("web/recordings/demo.jsonl"), "mine", 0.0, tmp_path / "runs")
    shutil.copy(tmp_path / "runs" / "mine" / "events.jsonl", file)
    page.goto(serve_site.url.replace("#", "runs/?compare=demo-careful.jsonl#"))
    page.locator("run-compare input[type=file]").set_input_files(file)
    expect(page.locator("run-compare run-chart canvas")).to_have_count(3)
    assert table(page)["lr"] == ["0.0001", "0.001"]
    assert "mine" not in page.url


def scored(log: Path, run: str, shift: float, runs: Path) -> None:
    """Write a log again as `run`, whose evaluations name the loss of each example."""
    lines = []
    for line in log.read_text("utf-8").splitlines():
        event: dict[str, Any] = json.loads(line) | {"run": run}
        if event["kind"] == "eval":
            event["row_losses"] = [event["loss"] + shift + n % 3 / 10 for n in range(12)]
        lines.append(json.dumps(event))
    (runs / run).mkdir(parents=True)
    (runs / run / "events.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


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
        page.goto(server.url.replace("#", "runs/?compare=one,same,worse,gone#"))
        said = page.locator(".run-compare-differences")
        expect(said).to_contain_text("Run 2 and run 1 on the task: no difference that 12 examples")
        expect(said).to_contain_text("Run 3 and run 1 on the task: run 3 is 0.500 nats higher")
        expect(page.locator(".run-compare-choice [role=status]")).to_contain_text("Not here: gone.")
        page.allowed_errors.append("404")  # type: ignore[attr-defined]
        shutil.rmtree(runs / "same")  # removed while it is compared
        expect(page.locator('.run-compare-list input[value="same"]')).to_have_count(0)
        expect(said).to_contain_text("run 3 is 0.500 nats higher")
    finally:
        server.stop()
