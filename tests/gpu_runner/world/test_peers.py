"""A process that ends takes the others along, within seconds, wherever they wait."""

from pathlib import Path
from typing import Any

import pytest

from conftest import matrix
from gpu_runner.errors import ExitCode
from run_process import events, together, train_until_one_ends

SECONDS = 300
"""For a loaded machine, its start and two steps; a collective waits for half an hour."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "why", "code"),
    matrix(
        [
            ("raise", "process 1 of 2 failed: ZeroDivisionError: of process 1", 1),
            ("exit", "process 1 of 2 failed: SystemExit: 3", 3),
            ("kill", "process 1 of 2 ended without a word: it was killed, or crashed", -9),
            ("stop", "the machine of process 1 of 2 has been silent for 3 s", -9),
        ],
        ("kill", "process 1 of 2 ended without a word: it was killed, or crashed", -9),
    ),
)
def test_who_waits_in_a_collective_ends_soon_after_another_process(
    way: str, why: str, code: int, model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    options |= {"steps": 6, "eval_every": 6, "save_every": 0, "sample_tokens": 0, "grad_accum": 2}
    options |= {"runs": str(tmp_path / "runs")}
    children = together(train_until_one_ends, (options, way))
    children[0].join(SECONDS)
    in_time = not children[0].is_alive()
    for child in children:
        child.kill()
        child.join()
    assert in_time
    assert [child.exitcode for child in children] == [ExitCode.SYSTEM, code]
    (run,) = (tmp_path / "runs").iterdir()
    end = events(run)[-1]
    assert (end["kind"], end["status"], end["step"]) == ("run.end", "failed", 2)
    assert end["reason"] == f"another process of this run has ended: {why}"
