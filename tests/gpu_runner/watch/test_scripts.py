"""The scripts of docs/watch.md, run unchanged, and the runs they write."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest
import torch

import build
import run_process
from conftest import matrix
from gpu_runner import demo
from watched_loops import events, series

SCRIPTS = sorted((build.ROOT / "docs" / "watch").glob("*.py"))
TRAINERS = {
    "loop": "a loop of its own",
    "trainer": "transformers Trainer",
    "sft": "transformers Trainer",
    "accelerate_loop": "a loop with Accelerate",
    "lightning_loop": "Lightning",
}


def run_script(script: Path, place: Path, cache: Path) -> None:
    """Run it as `python script.py` in a folder, on the demo's longest rows: few heavier batches."""
    torch.set_num_threads(1)
    os.environ |= {"XDG_CACHE_HOME": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    os.chdir(place)
    general, task, train = demo.general_eval(), demo.task_eval(), demo.task_train()
    demo.general_eval = lambda: {skill: _longest(path, 8) for skill, path in general.items()}
    demo.task_eval, demo.task_train = lambda: _longest(task, 8), lambda: _longest(train, 160)
    runpy.run_path(str(script), run_name="__main__")


def _longest(path: Path, count: int) -> Path:
    lines = path.read_text("utf-8").splitlines()
    longest = set(sorted(lines, key=len)[-count:])
    Path(path.name).write_text("\n".join(line for line in lines if line in longest), "utf-8")
    return Path(path.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", matrix(TRAINERS, "loop", "lightning_loop"))
def test_a_script_of_the_docs_is_watched(name: str, tmp_path: Path, cached: Path) -> None:
    (script,) = (one for one in SCRIPTS if one.stem == name)
    child = run_process.children().Process(target=run_script, args=(script, tmp_path, cached))
    child.start()
    child.join()
    assert child.exitcode == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert events(run, "run.start")[0]["trainer"].startswith(TRAINERS[name])
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
    assert not [script for script in SCRIPTS if f"(watch/{script.name})" not in text]
    assert {script.stem for script in SCRIPTS} == set(TRAINERS)
