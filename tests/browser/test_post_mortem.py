"""Why a run had no memory, its machine and its cost, in the page: accessible in every width."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import looks, objections
from browser.run_reader import RunReader, reaches, written
from conftest import watched_page
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.memory.limit import MemoryLimit, OtherProcess
from gpu_runner.memory.out_of_memory import BatchSize, Failure, OutOfMemoryReport, explain
from gpu_runner.memory.prediction import Suggestion
from run import writer

CHAPTERS = ("run-it-for-real",)

GIB = 2**30
STEPS = 12


def found() -> OutOfMemoryReport:
    """What a GPU without memory left would have told."""
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    settings = (
        Suggestion("--micro-batch 2 --grad-accum 8", 20 * GIB),
        Suggestion("--set checkpointing=selective --set loss=chunked", 21 * GIB, 1.12),
        Suggestion("--params bf16 --set rounding=stochastic", 15 * GIB, note="bf16 weights"),
    )
    failure = Failure(
        doing="backward",
        step=STEPS + 1,
        micro_batch=2,
        micro_batches=4,
        batch=BatchSize(1, 16_384, 9_000),
        predicted={"backward": {"params": 8 * GIB, "activations": 9 * GIB}},
        measured={"backward": {"params": 8 * GIB, "activations": 12 * GIB}},
        measuring="backward",
        limit=MemoryLimit("the GPU", 24 * GIB, GIB, 20 * GIB, 23 * GIB, GIB),
        others=(OtherProcess(4711, "a_process_with_a_long_name" * 2, 3 * GIB),),
        budget_bytes=22 * GIB,
        suggestions=settings,
    )
    return explain(error, failure)


def write(folder: Path, name: str) -> None:
    """A run on two GPUs with a price, which ended without memory."""
    path = folder / name / "events.jsonl"
    with EventLog(path, run=name, clock=SystemClock()) as log:
        writer.start(log, 20)
        for step in range(1, STEPS + 1):
            gpus = {f"gpu/power/{gpu}": 400.0 + 10 * gpu + step for gpu in (0, 1)}
            gpus |= {f"gpu/temperature/{gpu}": 60.0 + gpu for gpu in (0, 1)}
            gpus |= {f"gpu/memory_bytes/{gpu}": 20 * GIB for gpu in (0, 1)}
            machine = {"sys/process_cpu": 0.12, "sys/machine_cpu": 0.4, "sys/rss_bytes": GIB}
            log.emit("sys", step, m=machine | gpus, throttle={"1": ["heat"]})
            writer.train_step(log, step, 20, 0)
        told = found()
        more = {"reason": told.sentence, "post_mortem": told.payload()}
        log.emit("run.end", STEPS, status="oom", **more)


@pytest.fixture(scope="module")
def logs(serve_site: Any) -> None:
    write(serve_site.runs, "without-memory")
    written(serve_site.runs, "on-a-cpu", "--steps", "20", "--end", "finished")


@pytest.fixture(scope="module")
def reader(chromium: Browser, serve_site: Any, logs: None) -> Iterator[RunReader]:  # noqa: ARG001
    """One page that shows the run without memory; axe may work in it."""
    with watched_page(chromium.new_context(bypass_csp=True)) as page:
        reader = RunReader(page, serve_site.url)
        reader.choose("live:without-memory")
        reader.wait_notice("out-of-memory")
        yield reader


def test_place_bound_and_settings_are_reported_in_the_words_of_the_trainer(
    reader: RunReader,
) -> None:
    panel = reader.page.locator("run-view .run-post-mortem")
    told = found()
    expect(panel.get_by_role("heading", name="Why memory ran out")).to_be_visible()
    shown = dict(
        zip(
            panel.locator("dt").all_inner_texts(),
            panel.locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    assert shown == dict(told.facts)
    assert "step 13, micro-batch 2 of 4" in shown["Where"].lower()
    assert "Activations needed 12.0 GiB, 3.00 GiB more than predicted" in shown["Predicted"]
    assert panel.locator("code").all_inner_texts() == [
        one.options for one in told.failure.suggestions
    ]
    assert panel.locator("li .run-note").all_inner_texts() == list(
        map(str, told.failure.suggestions)
    )


def test_the_machine_has_charts_in_its_units_and_a_line_for_every_gpu(reader: RunReader) -> None:
    page = reader.page
    for title, unit in (("GPU power", "W"), ("GPU temperature", "°C"), ("CPU", "%")):
        chart = page.locator("run-view run-chart", has=page.get_by_role("heading", name=title))
        chart.scroll_into_view_if_needed()
        reaches(chart, STEPS)
        chart.locator(".run-stage").focus()
        page.keyboard.press("End")
        readout = chart.locator(".run-readout").inner_text().replace("\xa0", " ")
        assert readout.startswith(f"step {STEPS} · ")
        assert readout.count(unit) == 2, readout
    assert page.locator("run-view run-chart", has_text="GPU utilization").count() == 0


@pytest.mark.usefixtures("logs")
def test_a_run_that_told_nothing_of_it_shows_nothing_of_it(page: Page, serve_site: Any) -> None:
    reader = RunReader(page, serve_site.url)
    reader.choose("live:on-a-cpu")
    reader.wait_notice("finished")
    assert page.locator("run-view .run-post-mortem").count() == 0
    for title in ("GPU power", "CPU", "RAM"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_hidden()


@pytest.mark.matrix
def test_axe_finds_nothing_and_nothing_sticks_out(reader: RunReader) -> None:
    panel = reader.page.locator("run-view .run-post-mortem")
    panel.wait_for()
    assert objections(reader.page, "run-view", ("dark", 390)) == []
    for _ in looks(reader.page, ("light", 1280), ("dark", 390)):
        room = panel.bounding_box()
        assert room
        for text in panel.locator("dd, li").all():  # one below the other, in what room there is
            box = text.bounding_box()
            assert box
            assert box["width"] > 0.5 * room["width"]
            assert box["x"] + box["width"] <= room["x"] + room["width"] + 1
            assert text.evaluate("(e) => e.scrollWidth <= e.clientWidth")
