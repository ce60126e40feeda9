"""Changes: each is named once, says what it means, and leaves a job that can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unfrozen.catalogue import CATALOGUE
from unfrozen.changes import CHANGES, candidates, patched
from unfrozen.errors import PlanError
from unfrozen.job import Job

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
