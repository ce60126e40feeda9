"""Real steps of PyTorch's pipelines on two processes, beside what each rank was planned to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline_runs
from conftest import matrix
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory import pipeline
from unfrozen.memory.instants import Step, peak

MICRO_BATCHES = 6
RECIPE = Recipe.read(
    {
        "params": "fp32",
        "compute": "fp32",
        "micro_batch": pipeline_runs.ROWS,
        "seq_len": pipeline_runs.LENGTH,
        "grad_accum": MICRO_BATCHES,
        "attention": "flash",
        "kernels": "eager",
        "loss": "logits_fp32",
    }
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "within"),
    matrix(
        [("1f1b", 0.01), ("interleaved", 0.045)],
        ("1f1b", 0.01),
        ("interleaved", 0.045),
    ),
)
def test_each_rank_holds_what_was_planned(
    schedule: str, within: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_is_pytorch", lambda _: True)  # whose weights are whole here
    cluster = Cluster(2, pipeline_parallel=2, pipeline_schedule=schedule)
    measured = pipeline_runs.peaks(schedule, MICRO_BATCHES, tmp_path)
    for rank, held in enumerate(measured):
        step = Step(pipeline_runs.config(), RECIPE, cluster, rank=rank)
        assert peak(step.instants())[1] == pytest.approx(held, rel=within)
