"""Runs that have no memory left, for real: the kernel refuses a block of a process with a limit."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import tiny_llama
from gpu_runner.errors import ExitCode
from run_process import events, runner
from unfrozen.schema import read_event

pytestmark = pytest.mark.slow

MIB = 2**20
MOST_DATA = 700 * MIB  # less than the step needs beside nothing else


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny model of many words and long rows: what is little by weights is much by tokens."""
    place = tmp_path_factory.mktemp("long")
    model = tiny_llama.directory(place / "model", vocab_size=4096)
    rows: list[dict[str, object]] = [{"text": "cat and mat " * 90} for _ in range(24)]
    data = tiny_llama.write_rows(place / "rows.jsonl", rows)
    return [
        *("train", "--model", str(model), "--data", str(data), "--general", "none"),
        *("--seq-len", "1000", "--micro-batch", "20", "--grad-accum", "1", "--steps", "1"),
        *("--eval-rows", "1", "--sample-tokens", "0", "--save-every", "0"),
        *("--set", "fused=false", "--set", "loss=full"),
    ]


def trained(arguments: list[str], runs: Path, *more: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code, output and events of a run under the limit."""
    process = runner(*arguments, "--runs", str(runs), *more, most_data=MOST_DATA)
    output, _ = process.communicate()
    (run,) = runs.iterdir()
    return process.returncode, output, events(run)


@pytest.fixture(scope="module")
def starved(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, str, dict[str, Any]]:
    """A run that has less than it needs."""
    code, output, found = trained(arguments, tmp_path_factory.mktemp("starved"))
    return code, output, found[-1]


def test_it_ends_with_its_own_exit_code_and_says_where_it_was(
    starved: tuple[int, str, dict[str, Any]],
) -> None:
    code, output, end = starved
    assert code == ExitCode.MEMORY
    assert (end["kind"], end["status"]) == ("run.end", "oom")
    assert end["reason"].startswith("step 1, in the forward pass: 1 × ")
    assert "Error: out of memory." in output
    assert "Where: Step 1, in the forward pass: 1 × " in output
    assert "Traceback" not in output


def test_the_log_has_the_place_the_bound_and_what_was_predicted(
    starved: tuple[int, str, dict[str, Any]],
) -> None:
    end = starved[2]
    verdict = read_event(end)
    assert (verdict.problem, verdict.unknown) == ("", 0)
    found = end["post_mortem"]
    assert (found["step"], found["micro_batch"], found["doing"]) == (1, 1, "forward")
    assert found["instant"] == "end_of_forward"
    assert found["batch"]["rows"] == 1
    assert found["batch"]["loss_tokens"] < found["batch"]["length"] <= 20 * 1000
    assert found["asked_bytes"] > 0
    assert found["held"]["total_bytes"] == MOST_DATA
    assert "ulimit -d" in found["held"]["name"]
    assert sum(found["predicted"].values()) > found["budget_bytes"]
    assert found["measured"]["params"] == pytest.approx(found["predicted"]["params"], rel=1e-3)
    told = {fact["name"]: fact["text"] for fact in found["facts"]}
    assert "it could not fit" in told["Predicted"]


def test_what_is_advised_fits_for_real(
    starved: tuple[int, str, dict[str, Any]], arguments: list[str], tmp_path: Path, share: int
) -> None:
    settings = starved[2]["post_mortem"]["settings"]
    assert len(settings) == 3
    assert settings[0]["options"].startswith("--micro-batch ")
    assert not [one for one in settings if not one["fits"]]
    assert not [one for one in settings if f"  {one['options']}   (" not in starved[1]]
    for number, one in enumerate(settings[: 3 if share == 1 else 2]):
        if sizes := re.match(r"--micro-batch (\d+) --grad-accum (\d+)", one["options"]):
            assert int(sizes[1]) * int(sizes[2]) == 20  # a step is of as many rows
        code, output, _ = trained(arguments, tmp_path / str(number), *shlex.split(one["options"]))
        assert code == ExitCode.OK, output
