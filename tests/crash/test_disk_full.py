"""A disk with no room for a checkpoint: said with numbers, and the last one goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_runner.checkpoint import directory
from gpu_runner.errors import ExitCode
from run_process import ROOT, events, runner, wait_for_step

pytestmark = pytest.mark.slow

WITH_SMALL_FILES = """
import resource
from gpu_runner.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))  # the moments need 216,000
main()
"""


def test_a_full_disk_is_said_and_the_last_checkpoint_goes_on(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    steps = ["--steps", "40", "--save-every", "4", "--eval-every", "40", "--sample-tokens", "0"]
    data = ["--model", str(model_dir), "--data", str(sums_file), "--general", "none"]
    process = runner("train", *data, *steps, "--runs", str(tmp_path))
    run = wait_for_step(tmp_path, 10, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before, _ = directory.newest(run / "checkpoints")
    assert before is not None

    full = subprocess.run(
        [sys.executable, "-c", WITH_SMALL_FILES, "resume", run.name, "--runs", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert full.returncode == ExitCode.SYSTEM, full.stdout + full.stderr
    assert "File too large" in full.stderr
    assert "Make room, or choose another --runs" in full.stderr
    assert "Earlier checkpoints are intact" in full.stderr
    assert events(run)[-1]["status"] == "failed"
    assert directory.newest(run / "checkpoints") == (before, [])
    assert max((run / "checkpoints").iterdir()) == before

    process = runner("resume", run.name, "--runs", str(tmp_path))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert events(run)[-1]["status"] == "finished"
