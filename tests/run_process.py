"""Runs in processes of their own, for tests that kill, stop, or multiply them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def runner(*arguments: str, processes: int = 1) -> subprocess.Popen[str]:
    """`python -m gpu_runner …`, or the same under torchrun, in a session of its own."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"}
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(several if processes > 1 else []), "-m", "gpu_runner", *arguments]
    return subprocess.Popen(
        command,
        env=settings,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def events(run: Path) -> list[dict[str, Any]]:
    """Every whole event of a run."""
    found = []
    for line in (run / "events.jsonl").read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # torn by a kill
    return found


def losses(run: Path) -> dict[int, tuple[float, float]]:
    """Step → (loss, gradient norm); of a step taken twice, both times must agree."""
    found: dict[int, tuple[float, float]] = {}
    for event in events(run):
        if event["kind"] == "metrics" and "train/loss" in event["m"]:
            pair = (event["m"]["train/loss"], event["m"]["train/grad_norm"])
            assert found.setdefault(event["step"], pair) == pair
    return found


def wait_for_step(runs: Path, step: int, process: subprocess.Popen[str]) -> Path:
    """The run's directory once its log says that `step` is done."""
    while process.poll() is None:
        for run in runs.iterdir() if runs.exists() else ():
            if (run / "events.jsonl").exists() and last_step(run) >= step:
                return run
        time.sleep(0.005)
    raise AssertionError(
        f"the run ended before step {step}: {process.stdout and process.stdout.read()}"
    )


def last_step(run: Path) -> int:
    """The newest step that the log tells of."""
    return max((event["step"] for event in events(run)), default=0)
