"""What 10,000 varied jobs cost: planned in Python, on the command line, and in the page."""

import contextlib
import inspect
import io
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench import Ratio, show
from tests.bench.browser import new_page
from unfrozen.__main__ import main as command_line
from unfrozen.errors import PlanError
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan

JOBS = 10_000
BUDGET_SECONDS = 2.0
ANSWERS_SECONDS = 5.0  # each also solves the fewest GPUs: another plan or two
PAGE_BUDGET_SECONDS = 10.0
PAGE_CELL = """
import contextlib, json, time
from typing import Any
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.errors import PlanError
from unfrozen.plan import plan

JOBS = {count}

{jobs}
given = jobs()
start = time.perf_counter()
for job in given:
    plan(job)
time.perf_counter() - start
"""


def jobs() -> list[dict[str, Any]]:
    """Jobs of every model, recipe, batch and GPU in turn; those that cannot be planned left out.

    No two are the same, and no two share an object, as if each were read from its own line.
    """
    variants: list[dict[str, Any]] = [
        {"gpu": gpu, "recipe": recipe, "cluster": cluster}
        for gpu in ("A100-80GB", "RTX 4090", "H200", None)
        for cluster in ({}, {"gpus": 8, "sharding": "zero3"}, {"gpus": 4, "sharding": "zero2"})
        for recipe in (
            {},
            {"params": "fp32"},
            {"master": None, "moments": "int8"},
            {"attention": "flash", "checkpointing": "full"},
            {"attention": "eager", "grad_accum": 4},
            {"optimizer": "adafactor"},
            {"method": "lora", "attention": "flash"},
        )
    ]
    made: list[dict[str, Any]] = []
    number = 0
    while len(made) < JOBS:
        variant = variants[number % len(variants)]
        config = list(CATALOGUE.values())[number % len(CATALOGUE)].config
        size = {"micro_batch": 1 + number // 7 % 8, "seq_len": 256 + number % 4000}
        job = variant | {"model": config, "recipe": variant["recipe"] | size}
        number += 1
        with contextlib.suppress(PlanError):
            plan(job)
            made.append(job)
    return [json.loads(json.dumps(job)) for job in made]


def seconds_in_python(given: list[dict[str, Any]]) -> float:
    """Processor time of one plan for each job."""
    start = time.process_time()
    for job in given:
        plan(job)
    return time.process_time() - start


def seconds_on_the_command_line(given: list[dict[str, Any]]) -> float:
    """Processor time from the file to the JSON that is printed, without the interpreter's start."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.json"
        path.write_text(json.dumps(given))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            start = time.process_time()
            command_line(["plan", str(path), "--json"])
            return time.process_time() - start


def seconds_in_the_page() -> float:
    """Wall time of the same plans in the Python of a reader's browser."""
    code = PAGE_CELL.format(count=JOBS, jobs=inspect.getsource(jobs))
    with new_page() as (page, url):
        page.goto(url)
        result = page.locator("live-cell").first.evaluate(
            "async (cell, code) => { cell.code = code; return cell.run(); }", code
        )
    assert result["ok"], result["error"]
    return float(result["value"])


def main() -> None:
    """Compare each with its budget."""
    given = jobs()
    rows = [
        Ratio("plan()", seconds_in_python(given), BUDGET_SECONDS, "s"),
        Ratio("plan LIST.json --json", seconds_on_the_command_line(given), ANSWERS_SECONDS, "s"),
        Ratio("plan() in the page", seconds_in_the_page(), PAGE_BUDGET_SECONDS, "s"),
    ]
    show(f"{JOBS:,} plans", "its budget", rows)


if __name__ == "__main__":
    main()
