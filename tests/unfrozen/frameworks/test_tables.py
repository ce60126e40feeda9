"""Layouts for a terminal: eighty columns, every cause a word, the command of the first."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from conftest import matrix
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.frameworks.tables import (
    CAUSES,
    KEYS,
    RECOMPUTED,
    Inverse,
    fewest_text,
    layouts_data,
    layouts_text,
    mesh,
    solved_data,
    solved_text,
    zero_stage,
)
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.layouts import RECOMPUTED as SEARCHED
from unfrozen.plan.layouts import job_on_fewest_gpus, layouts
from unfrozen.plan.step_time import StepTime

WIDEST = 80


def job(name: str = "meta-llama/Llama-3.1-8B", gpu: str | None = "H100", **recipe: Any) -> Job:
    usual = {"attention": "flash", "seq_len": 4096}
    return Job.read({"model": CATALOGUE[name].config, "gpu": gpu, "recipe": usual | recipe})


def test_every_cause_and_every_way_to_recompute_has_a_word() -> None:
    assert set(CAUSES) == {field.name for field in fields(StepTime)}
    assert set(RECOMPUTED) == set(SEARCHED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", matrix(["meta-llama/Llama-3.1-70B", "Qwen/Qwen3-30B-A3B"], "Qwen/Qwen3-30B-A3B")
)
def test_a_table_is_no_wider_than_a_terminal(name: str) -> None:
    asked = job(name)
    text = layouts_text(asked, 16, layouts(asked, 16, 128), None, 2.5)
    rows = text.split("\n\n")
    assert max(len(line) for part in rows[:3] for line in part.splitlines()) <= WIDEST
    assert len(rows[1].splitlines()) == 11
    for word in ("16 × H100 SXM", "tokens/s", "cost/B", "bound by", "ZeRO", "--run-by"):
        assert word in text


def test_the_first_comes_with_the_command_of_who_runs_it() -> None:
    asked = job()
    found = layouts(asked, 8, 32, FRAMEWORKS["deepspeed"].adapt)
    assert "The first, by TRL with DeepSpeed:" in layouts_text(asked, 8, found, "deepspeed", None)
    assert '"zero_optimization"' in layouts_text(asked, 8, found, None, None)


def test_where_nothing_fits_it_says_so_and_how_to_go_on() -> None:
    text = layouts_text(job(), 1, [], "torchtitan", None)
    assert text.startswith("No layout that torchtitan runs fits 1 × H100 SXM (79.1 GiB)")
    assert "--solve gpus" in text


def test_a_mesh_and_its_states_are_named_as_everybody_names_them() -> None:
    one = replace(job(), cluster=Cluster(64, "zero3", 2, context_parallel=4, shard_size=8))
    assert (mesh(one), zero_stage(one)) == ("dp8 tp2 cp4", "3/8")
    interleaved = Cluster(16, pipeline_parallel=4, pipeline_schedule="interleaved")
    one = replace(job(), cluster=interleaved)
    assert (mesh(one), zero_stage(one)) == ("dp4 pp4×2", "–")


def test_data_has_everything_of_every_layout() -> None:
    found = layouts(job(), 8, 32)
    data = layouts_data(found, None)
    assert len(data) == len(found)
    for one, row in zip(found, data, strict=True):
        assert sum(row["seconds"].values()) == pytest.approx(row["step_seconds"])
        assert row["tokens_per_second"] == one.tokens_per_second
        assert row["bound_by"] in CAUSES
        hours = 8 * 1e9 / row["tokens_per_second"] / 3600
        assert row["card_hours_per_billion_tokens"] == pytest.approx(hours)
        assert row["cost_per_billion_tokens"] is None


@pytest.mark.parametrize(
    ("asked", "cluster", "says"),
    [
        (job(), Cluster(), "Fewest GPUs, ZeRO-3: 3 × H100 SXM; not sharded, no number"),
        (job(), Cluster(8, "zero3"), "Fewest GPUs, ZeRO-3: 3 × H100 SXM."),
        (job("meta-llama/Llama-3.2-1B"), Cluster(8), "Fewest GPUs, not sharded: 1 × H100 SXM."),
        (job("meta-llama/Llama-3.2-1B", None), Cluster(), "1 × A100 80GB SXM."),
        pytest.param(
            job(seq_len=1_048_576, loss="fused_linear", checkpointing="full", kernels="fused"),
            Cluster(),
            "under ZeRO-3 alone, no number of them holds the job.",
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


@pytest.mark.parametrize(
    ("recipe", "name", "says", "others"),
    [
        (
            *({"method": "lora"}, "megatron"),
            "does not run recipe.method = lora: megatron has no option for it; use full. This job",
            "LLaMA-Factory",
        ),
        ({"method": "qlora"}, "unsloth", "does not run cluster.gpus = 8", "Axolotl"),
        ({"optimizer": "lion"}, "axolotl", "not run recipe.optimizer = lion", "unfrozen train"),
        ({}, "deepspeed", "No layout that TRL with DeepSpeed runs fits 8 × H100", ""),
    ],
)
def test_what_a_framework_refuses_is_named_beside_those_that_run_it(
    recipe: dict[str, Any], name: str, says: str, others: str
) -> None:
    text = layouts_text(job(**recipe), 8, [], name, None).replace("\n", " ")
    assert says in text
    assert others in text
    assert ("This job runs in" in text) == bool(others)


def test_every_question_has_an_answer_as_data_and_as_text() -> None:
    planned = plan_job(job("meta-llama/Llama-3.2-1B"))
    for key in KEYS:
        asked = Inverse(key, gpus=2, sequences=4)
        assert solved_data(planned, asked)[key]
        assert "H100 SXM" in solved_text(planned, asked)
