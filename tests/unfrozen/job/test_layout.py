"""Which layers each part of a cluster holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.layout import stage_layers, stages_of
from unfrozen.model.catalogue import CATALOGUE

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 500,
}
MIXTURE = CATALOGUE["Qwen/Qwen3-30B-A3B"].config


def job(model: dict[str, object] = TINY, grad_accum: int = 8, **cluster: Any) -> Job:
    recipe = {"grad_accum": grad_accum}
    return Job.read({"model": model, "recipe": recipe, "cluster": {"gpus": 8, **cluster}})


def counts(layers: int, ranks: int, **given: Any) -> list[int]:
    return list(map(len, stage_layers(layers, Cluster(ranks, pipeline_parallel=ranks, **given))))


def test_layers_that_divide_are_dealt_out_evenly() -> None:
    assert stage_layers(8, Cluster(4, pipeline_parallel=4)) == ((0, 1), (2, 3), (4, 5), (6, 7))


def test_else_embedding_and_head_count_as_layers() -> None:
    assert counts(61, 16) == [3, *[4] * 14, 2]  # torchtitan's rule: 63 parts over 16 stages
    assert counts(5, 4) == [2, 1, 1, 1]  # … unless it leaves a stage with none


@given(st.integers(1, 200), st.integers(1, 64))
def test_no_layer_is_lost_and_no_stage_is_empty(layers: int, ranks: int) -> None:
    if ranks > layers:
        return
    found = stage_layers(layers, Cluster(ranks, pipeline_parallel=ranks))
    assert [index for stage in found for index in stage] == list(range(layers))
    assert all(found)
    assert max(map(len, found)) - min(map(len, found)) <= 2


def test_a_rank_holds_stages_by_turns() -> None:
    turns = Cluster(4, pipeline_parallel=4, pipeline_schedule="interleaved")
    assert [stages_of(rank, turns) for rank in range(4)] == [(0, 4), (1, 5), (2, 6), (3, 7)]


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("cluster.pipeline_parallel", {"gpus": 9, "pipeline_parallel": 9}),
        ("cluster.pipeline_layers", {"pipeline_parallel": 2, "pipeline_layers": [4, 3]}),
        ("cluster.pipeline_layers", {"pipeline_parallel": 2, "pipeline_layers": [8, 0]}),
        ("cluster.pipeline_layers", {"pipeline_parallel": 2, "pipeline_layers": [8]}),
        ("cluster.expert_parallel", {"expert_parallel": 2}),
        ("cluster.expert_tensor_parallel", {"expert_tensor_parallel": 2}),
        ("cluster.expert_parallel", {"model": MIXTURE, "gpus": 9, "expert_parallel": 3}),
        (
            "cluster.expert_tensor_parallel",
            {"model": MIXTURE, "gpus": 7, "expert_tensor_parallel": 7},
        ),
        (
            "recipe.grad_accum",
            {"pipeline_parallel": 4, "pipeline_schedule": "interleaved", "grad_accum": 9},
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_by_name(key: str, given: dict[str, Any]) -> None:
    with pytest.raises(PlanError) as caught:
        job(**given)
    assert caught.value.key == key


def test_an_update_within_the_backward_pass_cannot_wait_for_a_pipeline() -> None:
    given = {"optimizer_in_backward": True}
    with pytest.raises(PlanError, match=r"optimizer_in_backward.*after the last micro-batch"):
        Job.read({"model": TINY, "recipe": given, "cluster": {"gpus": 2, "pipeline_parallel": 2}})
