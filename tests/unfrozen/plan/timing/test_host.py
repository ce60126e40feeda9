"""The host: what moves over its link and through its memory, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import HOST_MEMORY_GB_S, find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.timing.host import activation_seconds, state_seconds, update_seconds

H100 = find("H100")
CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def job(recipe: dict[str, Any] | None = None, **cluster: Any) -> Job:
    return Job.read({"model": CONFIG, "recipe": recipe or {}, "cluster": cluster, "gpu": "H100"})


def test_an_offloaded_optimizer_moves_gradients_and_weights_and_updates_in_the_host() -> None:
    found = job(gpus=8, sharding="zero2", offload="optimizer")
    own = found.model.num_parameters / 8
    link = own * (2 + 2) / (0.8 * 63e9)
    states = own * (2 * (4 + 8) + 4) / (HOST_MEMORY_GB_S * 1e9)
    assert state_seconds(found, H100) == pytest.approx(link + states)
    assert update_seconds(found, 2.5e12) == 0


def test_paged_moments_come_and_go_over_the_link() -> None:
    found = job({"paged": True})
    moved = 2 * 8 * found.model.num_parameters
    assert state_seconds(found, H100) == pytest.approx(moved / (0.8 * 63e9))


def test_an_update_reads_and_writes_its_states_and_twice_as_much_where_it_is_loose() -> None:
    found = job({"params": "fp32", "compute": "bf16"})
    own = found.model.num_parameters
    fused = update_seconds(found, 2.5e12)
    assert fused == pytest.approx(own * (2 * (4 + 8) + 4 * 4) / 2.5e12, rel=0.02)
    assert (
        update_seconds(job({"params": "fp32", "compute": "bf16", "step": "foreach"}), 2.5e12)
        > 2 * fused
    )


def test_activations_move_only_where_they_are_offloaded() -> None:
    assert activation_seconds(job(), H100) == 0
    assert activation_seconds(job({"activation_offload": True}), H100) > 0
