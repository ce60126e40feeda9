"""Advice: legal, ranked by what it saves for its time, and sets that really fit."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan, plan_job
from unfrozen.plan.advice import FREE, Advice, advise, patched
from unfrozen.units import gib

LLAMA_8B = CATALOGUE["meta-llama/Llama-3.1-8B"].config
LLAMA_1B = CATALOGUE["meta-llama/Llama-3.2-1B"].config


def planned(
    recipe: dict[str, Any] | None = None,
    cluster: dict[str, Any] | None = None,
    gpu: str | None = "A100-80GB",
    model: dict[str, Any] = LLAMA_8B,
) -> Plan:
    return plan({"model": model, "recipe": recipe or {}, "cluster": cluster or {}, "gpu": gpu})


def keys(entries: list[Advice]) -> set[str]:
    return {entry.key for entry in entries}


def test_every_change_saves_what_a_new_plan_says() -> None:
    before = planned({"micro_batch": 4}, {"gpus": 4})
    entries = advise(before)
    assert len(entries) >= 8
    for entry in entries:
        after = plan_job(patched(before.job, entry.patch))
        assert entry.device_gib == gib(after.device_bytes)
        assert entry.saved_gib == gib(before.roomy_bytes - after.roomy_bytes)
        assert entry.saved_gib > 0
        assert entry.fits == after.fits
        assert 0.1 < entry.time_ratio < 5
        assert entry.label
        assert entry.note.endswith(".")


def test_the_most_memory_for_the_least_time_comes_first() -> None:
    entries = advise(planned({"micro_batch": 4}))
    worth = [entry.saved_gib / max(FREE, entry.time_ratio - 1) for entry in entries]
    assert worth == sorted(worth, reverse=True)


@pytest.mark.parametrize(
    ("recipe", "cluster", "present"),
    [
        ({}, {}, {"moments_int8", "moments_bf16", "pure_bf16", "kernels"}),
        ({"micro_batch": 8}, {}, {"checkpointing_full", "micro_batch_4", "micro_batch_1"}),
        ({"attention": "eager", "seq_len": 8192}, {}, {"flash"}),
        ({"step": "foreach", "seq_len": 64}, {}, {"step"}),
        ({}, {"gpus": 8}, {"zero1", "zero2", "zero3"}),
        ({}, {"gpus": 8, "sharding": "zero1"}, {"zero3"}),
        ({}, {}, {"lora", "qlora", "paged", "offload"}),
        ({"micro_batch": 8}, {}, {"activation_offload", "loss_chunked", "loss_fused"}),
        ({"micro_batch": 8}, {}, {"checkpointing_selective"}),
        ({"seq_len": 64}, {}, {"optimizer_in_backward"}),
        ({"method": "lora"}, {}, {"qlora"}),
        (
            {"micro_batch": 8},
            {"gpus": 8, "tensor_parallel": 8},
            {"sequence_parallel", "loss_vocab_parallel"},
        ),
    ],
)
def test_a_change_that_helps_is_advised(
    recipe: dict[str, Any], cluster: dict[str, Any], present: set[str]
) -> None:
    assert present <= keys(advise(planned(recipe, cluster)))


@pytest.mark.parametrize(
    ("recipe", "cluster", "absent"),
    [
        ({"optimizer": "sgd"}, {}, {"moments_int8", "moments_bf16"}),
        ({"params": "fp32"}, {}, {"pure_bf16"}),
        ({"moments": "int8"}, {}, {"moments_bf16", "moments_int8"}),
        ({"checkpointing": "full"}, {}, {"checkpointing_full"}),
        ({"micro_batch": 1}, {}, {"micro_batch_1"}),
        ({}, {}, {"zero1", "zero2", "zero3", "sequence_parallel"}),
        ({}, {"gpus": 8, "sharding": "zero3"}, {"zero1", "zero2", "zero3"}),
        ({"method": "lora"}, {}, {"lora"}),
        ({"method": "qlora"}, {}, {"lora", "qlora"}),
        ({"grad_accum": 2}, {}, {"optimizer_in_backward"}),
    ],
)
def test_a_change_that_does_nothing_or_is_not_legal_is_left_out(
    recipe: dict[str, Any], cluster: dict[str, Any], absent: set[str]
) -> None:
    assert not absent & keys(advise(planned(recipe, cluster)))


def test_what_the_model_does_not_allow_is_left_out() -> None:
    config = LLAMA_1B | {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 64}
    config |= {"hidden_size": 192}
    before = planned({"micro_batch": 2}, {"gpus": 2}, model=config)
    for entry in advise(before):
        plan_job(patched(before.job, entry.patch))


def test_accumulation_keeps_the_tokens_of_a_step() -> None:
    before = planned({"micro_batch": 6, "grad_accum": 2})
    halves = [entry for entry in advise(before) if entry.key.startswith("micro_batch")]
    assert [entry.patch["recipe"] for entry in halves]
    for entry in halves:
        recipe = entry.patch["recipe"]
        assert recipe["micro_batch"] * recipe["grad_accum"] == 12


RECIPES: tuple[dict[str, Any], ...] = (
    {},
    {"moments": "int8"},
    {"paged": True},
    {"optimizer": "lion"},
    {"optimizer": "adafactor"},
    {"params": "fp32"},
    {"master": None, "rounding": "stochastic"},
    {"master": None, "rounding": "kahan"},
)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("gpu", ["RTX 4090", "A100-80GB"])
def test_nothing_that_is_advised_is_worse_than_what_the_article_teaches(
    recipe: dict[str, Any], gpu: str
) -> None:
    """Weights of 16 bits alone only with updates that are rounded at random, by somebody."""
    for name in ("meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.1-8B"):
        before = planned(recipe, gpu=gpu, model=CATALOGUE[name].config)
        for entry in advise(before):
            kept = patched(before.job, entry.patch).recipe
            exact = kept.params == "fp32" or kept.master == "fp32" or kept.method != "full"
            assert exact or kept.rounds, entry.key
            assert not (kept.paged and kept.rounds), entry.key
            if kept.rounds and kept.moments == "int8":
                assert "torchao" in entry.note or before.job.recipe.moments == "int8"


def test_nothing_is_advised_that_the_gpu_lacks() -> None:
    found = {entry.key for entry in advise(planned(gpu="T4", model=LLAMA_1B))}
    assert "efficient" in found
    assert not found & {"flash", "moments_bf16", "pure_bf16"}
    assert "flash" in {entry.key for entry in advise(planned(gpu="L4", model=LLAMA_1B))}
