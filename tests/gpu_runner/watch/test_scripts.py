"""The scripts of docs/watch.md, run unchanged, and the runs they write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import build
from watched_loops import events, series

SCRIPTS = sorted((build.ROOT / "docs" / "watch").glob("*.py"))
TRAINERS = {
    "loop": "a loop of its own",
    "trainer": "transformers Trainer",
    "sft": "transformers Trainer",
    "accelerate_loop": "a loop with Accelerate",
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.stem))
def test_a_script_of_the_docs_is_watched(script: Path, tmp_path: Path) -> None:
    settings = {**os.environ, "PYTHONPATH": str(build.ROOT / "py"), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=settings | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    (run,) = (tmp_path / "runs").iterdir()
    assert events(run, "run.start")[0]["trainer"].startswith(TRAINERS[script.stem])
    assert len(series(run, "train/loss")) == 20
    end = events(run, "run.end")[0]
    assert end["status"] == "finished", end
    assert end["summary"]["memory_ratio"] == pytest.approx(1, abs=0.03)
    before, after = end["summary"]["losses"]["task"]
    assert after < before
    assert set(end["summary"]["losses"]) > {"task", "general"}
    assert end["summary"]["drift"] > 0


def test_every_script_is_in_the_table_of_the_docs() -> None:
    text = (build.ROOT / "docs" / "watch.md").read_text("utf-8")
    assert all(f"(watch/{script.name})" in text for script in SCRIPTS)
    assert {script.stem for script in SCRIPTS} == set(TRAINERS)
