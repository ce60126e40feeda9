"""A disk with no room for a checkpoint: said with numbers, and the last one goes on."""

import resource
import sys
from pathlib import Path

import pytest

import run_process
from gpu_runner.checkpoint import directory
from gpu_runner.errors import ExitCode
from run_process import events

pytestmark = pytest.mark.slow


def resume_with_small_files(run: Path) -> None:
    """`unfrozen resume` on a disk without room for the moments; what it says goes to a file."""
    from gpu_runner.__main__ import main

    sys.stdout = sys.stderr = (run / "said").open("w")
    sys.argv[1:] = ["resume", run.name, "--runs", str(run.parent)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))  # the moments need 216,000
    main()


def test_a_full_disk_is_reported_and_the_last_checkpoint_goes_on(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    make = run_process.children().Process
    steps = {"steps": 40, "save_every": 4, "eval_every": 40, "sample_tokens": 0}
    data = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    given = data | steps | {"runs": str(tmp_path)}
    child = make(target=run_process.stand_after, args=(10, run_process.train_here, given))
    child.start()
    run_process.wait_until_standing(child)
    child.kill()
    child.join()
    (run,) = (log.parent for log in tmp_path.glob("*/events.jsonl"))
    before, _ = directory.newest(run / "checkpoints")
    assert before is not None

    full = make(target=resume_with_small_files, args=(run,))
    full.start()
    full.join()
    said = (run / "said").read_text("utf-8")
    assert full.exitcode == ExitCode.SYSTEM, said
    assert "File too large" in said
    assert "Make room, or choose another --runs" in said
    assert "Earlier checkpoints are intact" in said
    assert events(run)[-1]["status"] == "failed"
    assert directory.newest(run / "checkpoints") == (before, [])
    assert max((run / "checkpoints").iterdir()) == before

    again = make(target=run_process.resume_here, args=(str(run),))
    again.start()
    again.join()
    assert again.exitcode == 0
    assert events(run)[-1]["status"] == "finished"
