"""Which layers each part of a cluster holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import infer_auto_device_map, init_empty_weights
from accelerate.utils import get_balanced_memory
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.layout import spread, stage_layers, stages_of
from unfrozen.model import ModelConfig
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


def test_a_rank_holds_stages_by_turns_or_from_both_ends() -> None:
    turns = Cluster(4, pipeline_parallel=4, pipeline_schedule="interleaved")
    assert [stages_of(rank, turns) for rank in range(4)] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    ends = Cluster(4, pipeline_parallel=4, pipeline_schedule="zb_v")
    assert [stages_of(rank, ends) for rank in range(4)] == [(0, 7), (1, 6), (2, 5), (3, 4)]
    twice = Cluster(4, pipeline_parallel=4, pipeline_schedule="dualpipe")
    assert [stages_of(rank, twice) for rank in range(4)] == [(0, 3), (1, 2), (1, 2), (0, 3)]


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("cluster.pipeline_parallel", {"gpus": 9, "pipeline_parallel": 9}),
        ("cluster.pipeline_layers", {"pipeline_parallel": 2, "pipeline_layers": [4, 3]}),
        ("cluster.pipeline_layers", {"pipeline_parallel": 2, "pipeline_layers": [8, 0]}),
        ("cluster.pipeline_layers", {"pipeline_parallel": 2, "pipeline_layers": [8]}),
        ("cluster.gpus", {"gpus": 9, "device_map": True}),
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
        (
            "recipe.grad_accum",
            {"pipeline_parallel": 4, "pipeline_schedule": "dualpipe", "grad_accum": 9},
        ),
        (
            "recipe.grad_accum",
            {"pipeline_parallel": 4, "pipeline_schedule": "dualpipe_v", "grad_accum": 7},
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


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("gpus", "layers"), [(2, 16), (2, 30), (4, 16), (4, 30)])
def test_a_device_map_is_accelerates(gpus: int, layers: int, tied: bool) -> None:
    given: dict[str, Any] = {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "vocab_size": 32000,
        "tie_word_embeddings": tied,
    }
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(LlamaConfig(**given))
    model.tie_weights()
    whole = {"no_split_module_classes": list(model._no_split_modules), "dtype": torch.bfloat16}
    free: dict[int | str, int] = {**dict.fromkeys(range(gpus), 80 * 2**30), "cpu": 2**40}
    found = infer_auto_device_map(model, get_balanced_memory(model, free, **whole), **whole)
    ours = spread(ModelConfig.from_hf({"model_type": "llama", **given}), gpus)
    for number, part in enumerate(ours):
        theirs = {name for name, place in found.items() if place == number}
        assert {f"model.layers.{index}" for index in part.layers} == {
            name for name in theirs if name.startswith("model.layers.")
        }
        assert part.embedding == ("model.embed_tokens" in theirs)
        assert part.head == ("lm_head" in theirs)
