"""What `plan` says of the memory of hosts, for as many processes as torchrun would start."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.plan import plan
from gpu_runner.plan.report import show_plan
from unfrozen.units import format_bytes

pytestmark = pytest.mark.slow

WEIGHTS = 4 * 27_040  # and twice that of moments, and a count of steps for each of 20 tensors
SAVED = 3 * WEIGHTS + 4 * 20
LARGEST = 4 * 264 * 32


@pytest.fixture
def options(model_dir: Path, sums_file: Path) -> dict[str, Any]:
    return {"model": str(model_dir), "data": str(sums_file), "general": (), "device": "cpu"}


def told(options: dict[str, Any], processes: int) -> dict[str, str]:
    """First word of a line → the line, of what is printed."""
    text = io.StringIO()
    planned = plan.make_plan(resolve(options | {"grad_accum": 4}), ranks=processes)
    show_plan(Console(file=text, width=400), planned)
    lines = text.getvalue().splitlines()
    return {line.split("  ")[0].strip(): line for line in lines if line.strip()}


def test_alone_on_a_cpu_everything_is_reported_by_what_top_shows(options: dict[str, Any]) -> None:
    lines = told(options, 1)
    assert "in top" in lines
    assert "host memory" not in lines


def test_of_several_both_ways_are_reported(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    lines = told(options, 4)
    parts, whole = lines["host memory"], lines["… without shards"]
    assert f"{format_bytes(LARGEST // 4)} to load" in parts
    assert f"{format_bytes(WEIGHTS + WEIGHTS // 4)} to load" in whole
    gathered = SAVED - WEIGHTS + WEIGHTS + 2 * LARGEST
    assert f"{format_bytes(gathered)} to write a checkpoint" in whole
    assert "the 2 of its machine" in parts


def test_copies_for_writing_beside_the_steps_are_counted(options: dict[str, Any]) -> None:
    lines = told(options | {"async_checkpoints": True}, 4)
    assert f"{format_bytes(-(-SAVED // 4))} to write a checkpoint" in lines["host memory"]


def test_a_model_cut_in_two_needs_as_much_as_on_two(options: dict[str, Any]) -> None:
    two, four = told(options, 2), told(options | {"shard_size": 2}, 4)
    for line in ("Weights", "Optimizer moments"):
        assert four[line] == two[line]
