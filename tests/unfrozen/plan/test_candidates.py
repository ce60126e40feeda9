"""Changes: each is named once, says what it means, and leaves a job that can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.number_formats import stall_share
from unfrozen.plan.advice import CHANGES, candidates, patched

CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def job(recipe: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Job:
    return Job.read({"model": CONFIG, "recipe": recipe or {}, "cluster": cluster or {}})


def test_a_change_sets_known_keys_to_known_values() -> None:
    start = job({"micro_batch": 8}, {"gpus": 16, "tensor_parallel": 2})
    changes = list(candidates(start))
    assert len({change.key for change in changes}) == len(changes) >= len(CHANGES)
    for change in changes:
        assert patched(start, change.patch) != start
        assert change.kind in ("same", "rounding", "less")
        assert change.label
        assert change.note.endswith(".")
        assert json.loads(json.dumps(change.patch)) == change.patch


def test_a_patched_job_is_the_job_that_would_be_given() -> None:
    start = job({"micro_batch": 8}, {"gpus": 16, "sharding": "zero1"})
    patch = {"recipe": {"micro_batch": 2, "grad_accum": 4}, "cluster": {"sharding": "zero3"}}
    given = job({"micro_batch": 2, "grad_accum": 4}, {"gpus": 16, "sharding": "zero3"})
    assert patched(start, patch) == given


def test_a_change_that_is_not_legal_is_refused() -> None:
    with pytest.raises(PlanError, match="grad_accum"):
        patched(job({"grad_accum": 2}), {"recipe": {"optimizer_in_backward": True}})


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_the_master_copy_goes_only_for_stochastic_rounding(optimizer: str) -> None:
    start = job({"optimizer": optimizer})
    (change,) = [change for change in candidates(start) if change.key == "pure_bf16"]
    assert change.patch == {"recipe": {"master": None, "rounding": "stochastic"}}
    assert patched(start, change.patch).recipe.rounds
    assert f"{stall_share(2e-5):.0%} of weights could stall" in change.note


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"optimizer": "lion"},
        {"params": "fp32"},
        {"params": "fp16"},
        {"master": None},
        {"method": "lora"},
    ],
)
def test_nobody_is_told_to_round_16_bit_weights_to_the_nearest(recipe: dict[str, Any]) -> None:
    start = job(recipe)
    for change in candidates(start):
        if "moments" in change.recipe:
            continue  # of its own keys only, and not legal for every optimizer
        after = patched(start, change.patch).recipe
        new = after.method == "full" and after.master is None and start.recipe.master is not None
        assert not new or after.rounds


def test_adapters_keep_their_rank_when_the_weights_beside_them_are_quantised() -> None:
    start = job({"method": "lora", "lora": {"rank": 64, "targets": ["q_proj"]}})
    (change,) = [change for change in candidates(start) if change.key == "qlora"]
    after = patched(start, change.patch)
    assert after.recipe.lora == start.recipe.lora
    assert after.recipe.base == "nf4"


@pytest.mark.parametrize(("batch", "keys"), [(1, []), (3, [1]), (2, [1]), (8, [4, 1])])
def test_a_batch_is_halved_or_taken_one_by_one(batch: int, keys: list[int]) -> None:
    found = [c.key for c in candidates(job({"micro_batch": batch})) if "micro_batch" in c.key]
    assert found == [f"micro_batch_{size}" for size in keys]
