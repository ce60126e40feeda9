"""A layout in letters, inverse questions in a sentence, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.frameworks.tables import (
    KEYS,
    fewest_text,
    mesh,
    refusal,
    solved_data,
    solved_text,
    zero_stage,
)
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.layouts import job_on_fewest_gpus
from unfrozen.project.changes import Variant, ways


def job(name: str = "meta-llama/Llama-3.1-8B", gpu: str | None = "H100", **recipe: Any) -> Job:
    usual = {"attention": "flash", "seq_len": 4096}
    return Job.read({"model": CATALOGUE[name].config, "gpu": gpu, "recipe": usual | recipe})


def test_a_mesh_and_its_states_are_named_as_everybody_names_them() -> None:
    one = replace(job(), cluster=Cluster(64, "zero3", 2, context_parallel=4, shard_size=8))
    assert (mesh(one), zero_stage(one)) == ("dp8 tp2 cp4", "3/8")
    interleaved = Cluster(16, pipeline_parallel=4, pipeline_schedule="interleaved")
    one = replace(job(), cluster=interleaved)
    assert (mesh(one), zero_stage(one)) == ("dp4 pp4×2", "–")


@pytest.mark.parametrize(
    ("asked", "cluster", "says"),
    [
        (job(), Cluster(), "Fewest GPUs: 2 × H100 SXM (dp1 tp2"),
        (job(), Cluster(8, "zero3"), "As it is, under ZeRO-3: 3."),
        (job("meta-llama/Llama-3.2-1B"), Cluster(8), "Fewest GPUs: 1 × H100 SXM."),
        (job("meta-llama/Llama-3.2-1B", None), Cluster(), "1 × A100 80GB SXM."),
        pytest.param(
            job(seq_len=1_048_576, loss="fused_linear", checkpointing="full", kernels="fused"),
            Cluster(),
            "As it is, no number of them holds the job under ZeRO-3 alone.",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            job(seq_len=4_000_001),
            Cluster(),
            "No number of GPUs holds this job",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_fewest_gpus_are_a_sentence(asked: Job, cluster: Cluster, says: str) -> None:
    planned = plan_job(replace(asked, cluster=cluster))
    assert says in fewest_text(planned, job_on_fewest_gpus(planned))


def test_every_question_has_an_answer_as_data_and_as_text() -> None:
    planned = plan_job(job("meta-llama/Llama-3.2-1B"))
    for key in KEYS:
        assert solved_data(planned, key)[key]
        assert "H100 SXM" in solved_text(planned, key)


def test_a_framework_that_cannot_run_a_job_says_which_setting_and_who_can() -> None:
    asked = ways(job("meta-llama/Llama-3.2-1B"), Variant())
    text = refusal(asked, 8, "unsloth")
    assert text.startswith("Unsloth does not run cluster.gpus = 8")
    assert FRAMEWORKS["accelerate"].label in text
    assert refusal(asked, 8, "accelerate") == refusal(asked, 8) == ""
