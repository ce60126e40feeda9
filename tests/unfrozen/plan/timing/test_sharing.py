"""Sharing: what waits for other GPUs, by hand, and never more with a faster network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timing.communication import Sharing, Waits
from unfrozen.plan.timing.passes import (
    BatchTime,
    LayerTime,
    Machine,
    Seconds,
    gradient_width,
)

CONFIG = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def job(recipe: dict[str, Any] | None = None, **cluster: Any) -> Job:
    given = {"attention": "flash", "micro_batch": 2} | (recipe or {})
    return Job.read({"model": CONFIG, "recipe": given, "cluster": cluster, "gpu": "H100"})


def sharing(found: Job) -> Sharing:
    assert found.gpu is not None
    return Sharing(found, BatchTime(found, Machine.of(found.gpu, "bf16")))


def test_what_products_hide_slows_them_and_the_rest_is_waited_for() -> None:
    found = sharing(job(gpus=8, sharding="zero3"))
    crowded = 2.0 * 0.189 / (1.102 * 1.189 - 1)  # of what two hidden seconds cost
    assert found._beside(2.0, Seconds(5.0)) == pytest.approx(Waits(0.0, 0.0, crowded))
    assert found._beside(5.0, Seconds(2.0)) == pytest.approx(Waits(3.0, 0.0, crowded))


def test_tensor_parallel_sums_by_hand() -> None:
    """Two a layer and direction, each twice (n − 1) / n of T · D numbers, over NVLink."""
    found = sharing(job(gpus=4, tensor_parallel=4))
    size = 2 * 2048 * 4096 * 2
    each = 2 * (8.4e-6 + 3 * 3.4e-6 + size * 3 / 4 / (0.8 * 450e9))
    assert found._tensor().inside == pytest.approx(4 * each)


def test_context_parallel_exchange_hides_behind_long_attention() -> None:
    short = sharing(job({"seq_len": 2048}, gpus=8, context_parallel=8))
    long = sharing(job({"seq_len": 131_072, "micro_batch": 1}, gpus=8, context_parallel=8))
    assert short._context(short.part.local).inside > 0
    assert long._context(long.part.local) == Waits()


QWEN, MIXTRAL = "Qwen/Qwen3-30B-A3B", "mistralai/Mixtral-8x7B-v0.1"


def experts(framework: str, name: str = QWEN, **cluster: Any) -> Sharing:
    model = CATALOGUE[name].config
    recipe = {"attention": "flash", "micro_batch": 2, "seq_len": 2048}
    given = {"model": model, "recipe": recipe, "gpu": "H100", "framework": framework}
    return sharing(Job.read(given | {"cluster": cluster}))


def test_megatron_sends_a_token_once_to_each_gpu_and_others_a_copy_to_each_expert() -> None:
    """Eight of 128 experts, over eight GPUs: 8 · (1 − (7/8)⁸) of them, in the mean."""
    each = 4096 * 2048 * 2 * 7 / 8 / (0.8 * 450e9)
    latency = 8.4e-6 + 3.4e-6
    copies = experts("torchtitan", gpus=8, expert_parallel=8)._dispatch().inside
    assert copies == pytest.approx(4 * (latency + 8 * each))
    once = experts("megatron", gpus=8, expert_parallel=8)._dispatch().inside
    assert once == pytest.approx(4 * (latency + 8 * (1 - (7 / 8) ** 8) * each))


def test_between_machines_each_gpu_sends_through_its_own_adapter() -> None:
    found = experts("torchtitan", gpus=16, expert_parallel=16)
    half = 4096 * 8 * 2048 * 2 / 2 / (0.8 * 50e9)  # the other machine has half of the experts
    inside, between, crowded = found._dispatch()
    assert between == pytest.approx(4 * half, rel=0.02)  # and its latency
    assert inside == crowded == 0


def test_gradients_of_experts_are_summed_among_those_that_hold_them() -> None:
    """Sixteen GPUs, eight shares of the experts: two GPUs hold the same, of an eighth of them."""
    found = experts("megatron", gpus=16, expert_parallel=8, sharding="zero1")
    own, held = found._weights()
    whole = 48 * 128 * 3 * 2048 * 768
    assert held == pytest.approx(whole / 8)
    assert own == pytest.approx(found.job.model.num_parameters - whole)
    assert found.expert_data.gpus == 2


def test_an_expert_that_a_gpu_has_for_itself_is_summed_with_no_other_gpu() -> None:
    found = experts("megatron", MIXTRAL, gpus=8, expert_parallel=8, sharding="zero1")
    own, held = found._weights()
    whole = 32 * 8 * 3 * 4096 * 14336
    assert (own, held) == (found.job.model.num_parameters - whole, whole / 8)
    gathered, _ = found._sharded(found.part.matmuls(True))
    attention_and_router = 4096 * (2 * 4096 + 2 * 1024 + 8)
    assert gathered == pytest.approx(found.data.gather(2 * attention_and_router))


def test_experts_are_as_wide_as_the_gpus_of_one_leave_them() -> None:
    """Megatron's expert tensor parallelism splits experts alone: here not at all."""
    layout = {"gpus": 8, "tensor_parallel": 2, "expert_parallel": 4, "expert_tensor_parallel": 1}
    found = experts("megatron", **layout, sharding="zero1")
    quarter = 48 * 32 * 3 * 2048 * 768
    own, held = found._weights()
    assert held == pytest.approx(quarter)
    assert own == pytest.approx((found.job.model.num_parameters - 4 * quarter) / 2)
    gathered, _ = found._sharded(found.part.matmuls(True))
    dense = 2048 * (2 * 4096 + 2 * 512) / 2 + 2048 * 128
    parts = found.data.gather(2 * dense), found.expert_data.gather(2 * quarter / 48)
    assert gathered == pytest.approx(sum(parts))


def test_a_gpu_alone_waits_for_nobody() -> None:
    assert step_time(job()).communication == 0


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero2", "zero3"])
def test_a_faster_network_is_never_slower(sharding: str) -> None:
    slow = job({"micro_batch": 1}, gpus=64, sharding=sharding)
    assert slow.gpu is not None
    faster = replace(slow.gpu, network_gb_s=100.0, link_gb_s=900.0)
    assert step_time(replace(slow, gpu=faster)).seconds < step_time(slow).seconds


def test_copies_of_a_sharded_group_sum_their_gradients() -> None:
    one = step_time(job(gpus=64, sharding="zero3", shard_size=8))
    assert one.seconds > 0
    assert sharing(job(gpus=64, sharding="zero3", shard_size=8)).copies.gpus == 8


HOP = 8.4e-6 + 3.4e-6  # two H100 of one machine
NVLINK = 0.8 * 450e9
TOKENS, HIDDEN, VOCAB = 2 * 2048, 4096, 128256


def gather(size: float) -> float:
    return HOP + size / 2 / NVLINK


@pytest.mark.parametrize(("checkpointing", "times"), [("none", 4), ("full", 6)])
def test_recomputed_layers_sum_and_send_again(checkpointing: str, times: int) -> None:
    recipe = {"checkpointing": checkpointing}
    found = sharing(job(recipe, gpus=2, tensor_parallel=2))
    assert found._tensor().inside == pytest.approx(times * 2 * gather(2 * TOKENS * HIDDEN))
    config = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
    given = {"model": config, "recipe": {"attention": "flash", "micro_batch": 2} | recipe}
    two = {"gpus": 2, "expert_parallel": 2}
    sent = sharing(Job.read(given | {"cluster": two, "gpu": "H100"}))._dispatch()
    half = 8 * TOKENS * 2048 * 2 / 2  # of eight copies of each token
    assert sent.inside == pytest.approx(times * (HOP + half / NVLINK))


def test_logits_are_gathered_and_their_gradients_scattered() -> None:
    found = sharing(job(gpus=2, tensor_parallel=2)).logits()
    assert found.inside == pytest.approx(2 * gather(TOKENS * VOCAB * 2))
    assert sharing(job({"loss": "vocab_parallel"}, gpus=2, tensor_parallel=2)).logits() == Waits()


@pytest.mark.parametrize(("resharded", "times"), [(False, 1), (True, 2)])
def test_the_first_gather_and_the_last_scatter_hide_behind_nothing(
    resharded: bool, times: int
) -> None:
    found = sharing(job(gpus=2, sharding="zero3", root_resharded=resharded))
    assert found.ends(1e9).inside == pytest.approx((times + 1) * gather(2 * 1e9))
    assert sharing(job(gpus=2, sharding="zero2")).ends(1e9) == Waits()


@pytest.mark.parametrize(
    ("sharding", "accum", "collectives"),
    [("none", 1, 0), ("zero1", 1, 1), ("zero1", 2, 0), ("zero2", 2, 1), ("zero3", 2, 3)],
)
def test_a_layer_that_hides_nothing_waits_for_each_of_its_collectives(
    sharding: str, accum: int, collectives: int
) -> None:
    """A scatter of its gradients, where they are sharded; two gathers of its weights under ZeRO-3;
    ZeRO-1 has whole gradients until the last micro-batch, which once a step are summed.
    """
    found = sharing(job({"grad_accum": accum}, gpus=2, sharding=sharding))
    weights = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    waits = found.layer(LayerTime(Seconds(), Seconds()), sparse=False)
    assert waits.inside == pytest.approx(collectives * gather(2 * weights))


def test_once_a_step_gradients_are_summed_and_new_weights_gathered() -> None:
    def waits(accum: int, sharding: str) -> float:
        found = sharing(job({"grad_accum": accum}, gpus=2, sharding=sharding))
        return found.step(Seconds(), Seconds()).inside

    whole = gather(2 * CATALOGUE["meta-llama/Llama-3.1-8B"].num_parameters)
    assert waits(1, "none") == pytest.approx(2 * whole)
    assert waits(1, "zero1") == waits(2, "zero2") == pytest.approx(whole)
    assert waits(2, "zero1") == pytest.approx(2 * whole)
    assert waits(2, "zero3") == 0


def test_a_gradient_is_reduced_as_wide_as_it_is_unless_fsdp_narrows_it() -> None:
    def width(recipe: dict[str, Any], **cluster: Any) -> int:
        return gradient_width(job(recipe, gpus=2, **cluster))

    wide = {"params": "fp32"}
    assert [width({}, sharding=f"zero{stage}") for stage in (1, 2, 3)] == [2, 2, 2]
    assert [width(wide, sharding=f"zero{stage}") for stage in (1, 2, 3)] == [4, 4, 2]
    assert width(wide, sharding="zero3", outer_apart=True) == 4
    assert width(wide | {"reduce": "fp32"}, sharding="zero3") == 4


def test_a_pipelines_stages_pass_activations_on_and_gradients_back() -> None:
    found = sharing(job({"grad_accum": 4}, gpus=2, pipeline_parallel=2)).stages()
    size = 2 * TOKENS * HIDDEN
    assert found.inside == pytest.approx(2 * (HOP + size / NVLINK))
    four = {"gpus": 4, "pipeline_parallel": 2, "tensor_parallel": 2}
    whole = sharing(job({"grad_accum": 4}, **four)).stages()
    assert whole.inside == found.inside
    split = sharing(job({"grad_accum": 4}, **four, sequence_parallel=True)).stages()
    assert split.inside == pytest.approx(2 * (HOP + size / 2 / NVLINK))
    assert sharing(job(gpus=2)).stages() == Waits()
    several = {"gpus": 2, "pipeline_parallel": 2, "pipeline_schedule": "interleaved"}
    assert sharing(job({"grad_accum": 4}, **several)).stages() == Waits()  # sent meanwhile


@pytest.mark.parametrize(("checkpointing", "again"), [("none", 1), ("full", 2)])
def test_keys_and_values_of_the_other_half_are_waited_for_where_scores_are_sooner(
    checkpointing: str, again: int
) -> None:
    config = CATALOGUE["meta-llama/Llama-2-7b-hf"].config
    recipe = {"attention": "flash", "seq_len": 256, "micro_batch": 64}
    given = {"model": config, "recipe": recipe | {"checkpointing": checkpointing}, "gpu": "H100"}
    found = sharing(Job.read(given | {"cluster": {"gpus": 2, "context_parallel": 2}}))
    seconds = HOP + 2 * 4096 * 8192 * 2 / NVLINK
    scores = found.part.attention(found.part.local)
    forward, backward = seconds - scores.forward, 2 * seconds - scores.backward
    assert forward > 0
    assert backward > 0
    waits = found._context(found.part.local).inside
    assert waits == pytest.approx(again * forward + backward)


def test_waits_add_up_and_experts_of_a_smaller_group_have_no_other_copy() -> None:
    assert Waits(1, 2, 3).plus(Waits(1, 1, 1)) == Waits(2, 3, 4)
    assert Waits(1, 2, 3).plus(Waits(1, 1, 1), 2) == Waits(3, 4, 5)
    found = experts("megatron", gpus=8, expert_parallel=8, sharding="zero1")
    assert found.expert_data.gpus == 1
    own, apart = found._weights()
    stacks = 48 * 3 * 128 * 768 * 2048
    assert apart == pytest.approx(stacks / 8)
    assert own == pytest.approx(found.job.model.num_parameters - stacks)
    alone = experts("megatron", gpus=8, sharding="zero1")
    assert alone._weights() == (alone.job.model.num_parameters, 0)
    pair = experts("megatron", gpus=2, expert_parallel=2, sharding="zero1")
    assert pair._weights()[1] == pytest.approx(stacks / 2)
