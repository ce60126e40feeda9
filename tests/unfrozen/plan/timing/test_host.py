"""The host: what moves over its link and through its memory, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import HOST_MEMORY_GB_S, find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timing.host import (
    activation_seconds,
    hook_seconds,
    launch_seconds,
    state_seconds,
    update_seconds,
)

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
    alone = job({"params": "fp32"}, offload="optimizer", gpus=8, sharding="zero2")
    states = own * (2 * 8 + 4 + 4) / (HOST_MEMORY_GB_S * 1e9)  # no master copy beside fp32 weights
    assert state_seconds(alone, H100) == pytest.approx(own * (4 + 4) / (0.8 * 63e9) + states)


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


def test_kernels_cost_the_host_more_forward_than_backward_and_least_compiled() -> None:
    forward, backward = launch_seconds(job())
    assert forward > backward > launch_seconds(job({"kernels": "fused"}))[0]


def test_hooks_of_deepspeed_cost_each_weight_and_pass_and_those_of_fsdp_each_layer() -> None:
    def hooks(recipe: dict[str, Any], framework: str | None = "deepspeed", **cluster: Any) -> float:
        given = {"model": CONFIG, "recipe": recipe, "cluster": cluster, "gpu": "H100"}
        return hook_seconds(Job.read(given | ({"framework": framework} if framework else {})))

    plain = hooks({"checkpointing": "none"}, gpus=2, sharding="zero3")
    assert plain == pytest.approx(0.4e-3 * 2 * 32 * 9)
    again = hooks({"checkpointing": "full"}, gpus=2, sharding="zero3")
    assert again == pytest.approx(1.5 * plain)
    lora = hooks({"method": "lora", "checkpointing": "none"}, gpus=2, sharding="zero3")
    assert lora == pytest.approx(0.4e-3 * 2 * 32 * (9 + 2 * 7))
    gradients = hooks({}, gpus=2, sharding="zero2")
    assert gradients == pytest.approx(0.09e-3 * 32 * 9)
    assert hooks({}, None, gpus=2, sharding="zero3") == pytest.approx(2 * 0.8e-3 * 32)
    assert hooks({}, None, gpus=2, sharding="zero1") == hooks({}, gpus=2) == 0


def test_a_short_micro_batch_takes_as_long_as_the_host_needs_for_it() -> None:
    def seconds(length: int) -> float:
        recipe = {"attention": "flash", "micro_batch": 1, "seq_len": length}
        given = {"model": CONFIG, "recipe": recipe, "cluster": {"gpus": 2, "sharding": "zero3"}}
        return step_time(Job.read(given | {"gpu": "H100", "framework": "deepspeed"})).seconds

    assert seconds(256) == pytest.approx(seconds(64), rel=0.05)
    assert seconds(16384) > 2 * seconds(256)


def test_the_hosts_seconds_are_those_that_were_measured() -> None:
    assert launch_seconds(job()) == (18e-6, 10e-6)
    assert launch_seconds(job({"kernels": "fused"})) == (5e-6, 5e-6)


@pytest.mark.parametrize(
    ("step", "kernels"),
    [("fused", 0.2), ("sub_groups", 0.2), ("foreach", 1), ("for_loop", 14), ("rows", 14)],
)
def test_an_update_launches_kernels_for_each_tensor(step: str, kernels: float) -> None:
    found = update_seconds(job({"step": step}), 1e30)  # bytes of no time
    assert found == pytest.approx(kernels * 9 * 32 * 10e-6)


def test_ranks_update_their_share_and_parameters_in_the_host_come_with_each_pass() -> None:
    found = job({"step": "fused"}, gpus=8, tensor_parallel=2, pipeline_parallel=2, sharding="zero1")
    own = found.model.num_parameters / 8
    kernels = 0.2 * 9 * 16 * 10e-6
    assert update_seconds(found, 2.5e12) == pytest.approx(own * 36 / 2.5e12 + kernels)
    recipe = {"checkpointing": "full", "grad_accum": 3}
    away = job(recipe, gpus=8, sharding="zero3", offload="params")
    less = job(recipe, gpus=8, sharding="zero3", offload="optimizer")
    own = away.model.num_parameters / 8
    moved = state_seconds(away, H100) - state_seconds(less, H100)
    assert moved == pytest.approx(3 * 3 * 2 * own / (0.8 * 63e9))


def test_offloaded_activations_go_and_come_for_each_micro_batch() -> None:
    recipe = {"activation_offload": True, "checkpointing": "full", "attention": "flash"}
    layer = 2 * 2048 * 4096  # its input; two of the layers are still on the GPU
    for micro_batches in (1, 3):
        found = activation_seconds(job(recipe | {"grad_accum": micro_batches}), H100)
        assert found == pytest.approx(2 * micro_batches * 30 * layer / (0.8 * 63e9))


def test_what_an_offload_does_not_move_takes_no_time() -> None:
    """With every layer recomputed from an input that is all of what two layers save, as with it."""
    tiny = CONFIG | {"num_hidden_layers": 2}
    recipe = {"activation_offload": True, "checkpointing": "full", "attention": "flash"}
    given = {"model": tiny, "recipe": recipe, "gpu": "H100"}
    assert activation_seconds(Job.read(given), H100) == 0
