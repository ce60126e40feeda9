"""One micro-batch: matmuls at the rate that lasts, recomputation, accumulation, casts."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.step_time import step_time
from unfrozen.plan.timing.layers import FILL_SECONDS, bias_seconds, layer_moved, matmul_seconds
from unfrozen.plan.timing.passes import (
    WEIGHT_GRADIENT,
    BatchTime,
    Machine,
    Seconds,
    copied_bytes,
)

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def part(recipe: dict[str, Any] | None = None, gpu: str = "H100", **cluster: Any) -> BatchTime:
    given = {"attention": "flash", "micro_batch": 4, "seq_len": 4096} | (recipe or {})
    job = Job.read({"model": LLAMA, "recipe": given, "cluster": cluster, "gpu": gpu})
    return BatchTime(job, Machine.of(find(gpu), job.recipe.compute))


def test_matmuls_of_a_layer_take_their_operations_at_the_rate_that_lasts() -> None:
    found = part().layer(sparse=False)
    weights = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    by_hand = 2 * 16384 * weights / 720e12
    assert by_hand < found.forward.matmuls < 1.1 * by_hand
    back = found.backward.matmuls / found.forward.matmuls
    assert back == pytest.approx(1 + WEIGHT_GRADIENT, rel=0.05)


def test_full_checkpointing_repeats_all_but_the_last_product() -> None:
    plain, again = part().layer(False), part({"checkpointing": "full"}).layer(False)
    repeated = again.backward.matmuls - plain.backward.matmuls
    last = 14336 / (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert repeated == pytest.approx((1 - last) * plain.forward.matmuls, rel=0.02)
    assert again.backward.attention == plain.backward.attention + plain.forward.attention


def test_megatron_repeats_all_of_it() -> None:
    megatron = {"params": "bf16", "grads": "fp32"}
    plain, again = (
        part(megatron).layer(False),
        part(megatron | {"checkpointing": "full"}).layer(False),
    )
    repeated = again.backward.matmuls - plain.backward.matmuls
    assert repeated == pytest.approx(plain.forward.matmuls)


def test_reentrant_checkpoints_repeat_all_of_it() -> None:
    plain = part().layer(False)
    again = part({"checkpointing": "full", "reentrant": True}).layer(False)
    repeated = again.backward.matmuls - plain.backward.matmuls
    assert repeated == pytest.approx(plain.forward.matmuls)


def test_fp32_weights_that_are_sharded_come_in_16_bits_and_no_layer_casts_them() -> None:
    sharded = {"gpus": 8, "sharding": "zero3"}
    narrow, wide = (part({"params": params}, **sharded).layer(False) for params in ("bf16", "fp32"))
    assert wide.forward == narrow.forward
    assert part({"params": "fp32"}).layer(False).forward.memory > narrow.forward.memory


def test_fsdp2_copies_what_it_gathers_and_what_it_scatters_and_the_others_do_not() -> None:
    """Read and written, in both passes; gradients once read in 16 bits and written as reduced."""

    def copied(
        framework: str | None, recipe: dict[str, Any] | None = None, sharding: str = "zero3"
    ) -> tuple[float, float]:
        given = {"model": LLAMA, "recipe": recipe or {}, "gpu": "H100"}
        cluster = {"gpus": 8, "sharding": sharding, "outer_apart": True}
        return copied_bytes(Job.read(given | {"cluster": cluster, "framework": framework}))

    wide = {"params": "fp32", "grads": "fp32"}
    assert copied("torchtitan", wide) == (4, 4 + 2 + 4)
    assert copied("torchtitan", wide | {"reduce": "bf16"}) == (4, 4 + 2 + 2)
    assert copied("torchtitan", wide | {"no_sync": True, "grad_accum": 3}) == (4, 4 + 6 / 3)
    assert copied("torchtitan", wide, "zero2") == (4, 2 + 4)  # what was gathered stays
    assert copied("torchtitan", wide, "zero1") == (0, 0)
    assert copied("deepspeed") == copied("llm-foundry") == (0, 0)
    assert copied(None, {"reentrant": True, "checkpointing": "full"}) == (0, 0)
    frozen = copied("trl", {"method": "lora"})
    assert frozen[0] == 4 < frozen[1] < 4.1
    plain, sharded = (part(gpus=8, sharding=s).layer(False) for s in ("none", "zero3"))
    weights = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    more = sharded.forward.memory - plain.forward.memory
    assert more * part().machine.wide.memory == pytest.approx(4 * weights)


def test_experts_that_a_gpu_has_to_itself_are_not_gathered_and_not_copied() -> None:
    def seconds(**cluster: Any) -> float:
        config = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
        given = {"model": config, "gpu": "H100", "recipe": {"seq_len": 2048}}
        job = Job.read(given | {"cluster": {"gpus": 8, "sharding": "zero3"} | cluster})
        return BatchTime(job, Machine.of(find("H100"), "bf16")).layer(True).forward.memory

    experts = 128 * 3 * 768 * 2048
    saved = (seconds() - seconds(expert_parallel=8)) * part().machine.wide.memory
    assert saved == pytest.approx(4 * experts, rel=0.05)


def test_liger_takes_the_head_in_chunks_that_each_read_its_weights() -> None:
    """32 chunks of 64 tokens: logits, input and weight gradients each read or write all weights."""
    recipe = {"micro_batch": 1, "seq_len": 2048}
    whole, chunked = (part({**recipe, "loss": loss}) for loss in ("logits_bf16", "fused_linear"))
    weights, memory = 2 * 128256 * 4096, whole.machine.wide.memory
    once, often = whole.outside(), chunked.outside()
    assert often.forward.matmuls >= 32 * weights / memory > once.forward.matmuls
    assert often.backward.matmuls >= 32 * (weights + 2 * WEIGHT_GRADIENT * weights) / memory
    long = {"loss": "fused_linear", "micro_batch": 64}
    assert (
        part(long).outside().forward.matmuls
        < 1.1 * part(long | {"loss": "logits_bf16"}).outside().forward.matmuls
    )


def test_biases_of_experts_are_summed_token_by_token_where_transformers_gathers_them() -> None:
    def back(framework: str, gpu: str = "H100") -> float:
        recipe = {"attention": "flash", "micro_batch": 1, "seq_len": 4096, "kernels": "fused"}
        config = CATALOGUE["openai/gpt-oss-20b"].config
        given = {"model": config, "recipe": recipe, "gpu": gpu, "framework": framework}
        job = Job.read(given)
        return BatchTime(job, Machine.of(find(gpu), "bf16")).layer(True).backward.memory

    rows = 4096 * 4 / 32
    assert back("trl") - back("megatron") > 2 * rows * FILL_SECONDS
    assert bias_seconds(rows) == 2 * rows * FILL_SECONDS


def test_frozen_weights_need_no_gradient() -> None:
    trained, frozen = part().layer(False), part({"method": "lora"}).layer(False)
    assert frozen.backward.matmuls < 0.6 * trained.backward.matmuls
    for one, other in zip(frozen, trained, strict=True):  # adapters attend to nothing
        assert one.attention == other.attention


def test_fp8_products_are_faster_and_cast_and_the_head_stays_in_16_bits() -> None:
    half, eighth = part(), part({"compute": "fp8"})
    assert eighth.layer(False).forward.matmuls < 0.65 * half.layer(False).forward.matmuls
    assert eighth.layer(False).forward.memory > half.layer(False).forward.memory
    assert eighth.layer(False).forward.attention == half.layer(False).forward.attention
    assert eighth.outside().forward.matmuls == half.outside().forward.matmuls


def test_a_classifier_has_no_head_of_words() -> None:
    assert part({"loss": "classification"}).outside().forward.matmuls == 0


def test_seconds_add_up_by_cause() -> None:
    assert Seconds(1, 2, 3, 4).plus(Seconds(1, 1, 1, 1), 2) == Seconds(3, 4, 5, 6)
    assert Seconds(1, 2, 3, 4).busy == 6


def test_experts_that_take_no_part_in_autocast_go_at_the_rate_of_fp32() -> None:
    def matmuls(recipe: dict[str, Any], **cluster: Any) -> float:
        config = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
        given = {"model": config, "recipe": recipe, "cluster": cluster, "gpu": "H100"}
        job = Job.read(given)
        found = BatchTime(job, Machine.of(find("H100"), job.recipe.compute))
        return found.layer(sparse=True).forward.matmuls

    wide = {"params": "fp32"}
    narrow = matmuls(wide | {"experts_cast": True})
    assert narrow == matmuls({}) == matmuls(wide, gpus=8, sharding="zero3")
    assert 3 < matmuls(wide) / narrow < 15  # 67 TFLOP/s on the sheet, not 990


def test_experts_go_one_by_one_where_no_kernel_takes_them_together() -> None:
    """A loop over 128 experts launches three matmuls and six kernels each, and 256 tokens of one
    expert fill few multiprocessors.
    """
    model = CATALOGUE["Qwen/Qwen3-30B-A3B"].config

    def run(gpu: str, framework: str = "trl") -> BatchTime:
        recipe = {"attention": "flash", "micro_batch": 1, "seq_len": 4096, "compute": "bf16"}
        given = {"model": model, "recipe": recipe | {"params": "bf16"}, "gpu": gpu}
        return BatchTime(Job.read(given | {"framework": framework}), Machine.of(find(gpu), "bf16"))

    assert not run("H100").loops
    assert not run("A100 80GB SXM", "torchtitan").loops
    found = run("A100 80GB SXM")
    alone = found.layer(sparse=True).forward
    found.loops = False
    together = found.layer(sparse=True).forward
    assert alone.kernels - together.kernels == 3 * 127 + 6 * 128
    assert alone.matmuls > 1.5 * together.matmuls
    rates, sizes = found.machine.rates, ((768, 2048), (768, 2048), (2048, 768))
    one_by_one = sum(128 * matmul_seconds(256, n, k, rates) for n, k in sizes)
    at_once = sum(matmul_seconds(256, n, k, rates, 2, 2, 128) for n, k in sizes)
    assert alone.matmuls - together.matmuls == pytest.approx(one_by_one - at_once)


def test_a_4_bit_layer_unpacks_its_experts_too() -> None:
    found = part({"method": "qlora"}), part({"method": "lora"})
    more = found[0].layer(False).forward.memory - found[1].layer(False).forward.memory
    weights = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert more == pytest.approx(4.5 * weights / (0.75 * 3350e9), rel=0.2)


WEIGHTS = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
INPUTS = 6 * 4096 + 14336  # of q, k, v, the output, gate and up; of down
TOKENS, MEMORY = 4 * 4096, 0.75 * 3350e9


def more_bytes(of: Seconds, than: Seconds) -> float:
    return (of.memory - than.memory) * MEMORY


@pytest.mark.parametrize(
    ("attention", "forward", "backward"),
    [("flash", 1, 3), ("eager", 6, 9), ("sdpa_masked", 2, 4)],
)
def test_kernels_of_a_layer_are_those_of_matmuls_attention_and_what_is_beside_them(
    attention: str, forward: int, backward: int
) -> None:
    found = part({"attention": attention}).layer(False)
    assert found.forward.kernels == 7 + forward + 26
    assert found.backward.kernels == 2 * 7 + backward + 39


def test_kernels_outside_the_layers() -> None:
    words = part().outside()
    assert (words.forward.kernels, words.backward.kernels) == (12, 14)
    assert words.forward.attention == words.backward.attention == 0
    classes = part({"loss": "classification"}).outside()
    rows = (6 * 2 * TOKENS * 4096 + 2 * 128256 * 4096) / 2 / MEMORY
    assert classes == (Seconds(0, 0, rows, 4), Seconds(0, 0, rows, 6))


def test_the_head_and_its_loss_by_hand() -> None:
    found = part().outside()
    logits = (36 * 128256 * TOKENS + 6 * 2 * TOKENS * 4096 + 2 * 128256 * 4096) / 2 / MEMORY
    assert found.forward.memory == found.backward.memory == pytest.approx(logits)
    rates = part().machine.wide
    forward = matmul_seconds(TOKENS, 128256, 4096, rates, 2, 2)
    assert found.forward.matmuls == forward
    weight = WEIGHT_GRADIENT * matmul_seconds(128256, 4096, TOKENS, rates, 2, 2)
    back = matmul_seconds(TOKENS, 4096, 128256, rates, 2, 2)
    assert found.backward.matmuls == pytest.approx(back + weight)
    assert pytest.approx(1 / 0.955) == WEIGHT_GRADIENT
    assert part({"method": "lora"}).outside().backward.matmuls == pytest.approx(back)


def test_fp8_casts_inputs_and_weights_and_both_gradients_of_an_input() -> None:
    half, low = part().layer(False), part({"compute": "fp8"}).layer(False)
    forward, backward = 5 * (TOKENS * INPUTS + WEIGHTS), 2 * 5 * TOKENS * INPUTS
    assert more_bytes(low.forward, half.forward) == pytest.approx(forward, rel=1e-6)
    assert more_bytes(low.backward, half.backward) == pytest.approx(backward, rel=1e-6)
    engine = {"params": "bf16", "grads": "fp32"}  # Megatron's, which joins q, k and v, gate and up
    half, low = part(engine).layer(False), part(engine | {"compute": "fp8"}).layer(False)
    forward = 2 * TOKENS * (3 * 4096 + 14336)
    assert more_bytes(low.forward, half.forward) == pytest.approx(forward, rel=1e-6)
    assert more_bytes(low.backward, half.backward) == pytest.approx(2 * forward, rel=1e-6)


def test_gradients_that_add_up_are_read_twice_and_written_once_but_by_megatron() -> None:
    one = part().layer(False).backward
    for n in (2, 8):
        moved = more_bytes(part({"grad_accum": n}).layer(False).backward, one)
        assert moved == pytest.approx(2 * 3 * WEIGHTS * (n - 1) / n, rel=1e-6)
    sharded = part({"grad_accum": 8}, gpus=8, sharding="zero3")
    assert sharded._accumulated(sharded.matmuls(False)) == 0  # each is reduced at once
    given = {"model": LLAMA, "gpu": "H100", "framework": "megatron"}
    seconds = [
        BatchTime(job, Machine.of(find("H100"), "bf16")).layer(False).backward
        for job in (
            Job.read(given | {"recipe": {"attention": "flash", "grads": "fp32", "grad_accum": n}})
            for n in (1, 8)
        )
    ]
    moved = more_bytes(seconds[1], seconds[0])
    assert moved == pytest.approx(4 * 1 * WEIGHTS * 7 / 8, rel=1e-6)


def test_selective_checkpoints_repeat_half_of_the_matmuls_or_the_scores() -> None:
    plain, again = part().layer(False), part({"checkpointing": "selective"}).layer(False)
    half = Seconds(plain.forward.matmuls / 2, 0, plain.forward.memory, plain.forward.kernels / 2)
    assert again.backward == pytest.approx(plain.backward.plus(half))
    eager = {"attention": "eager"}
    plain = part(eager).layer(False)
    again = part(eager | {"checkpointing": "selective"}).layer(False)
    scores = Seconds(0, plain.forward.attention, 0, 6)
    assert again.backward == pytest.approx(plain.backward.plus(scores))


def test_every_second_layer_repeated_is_half_of_all_of_them() -> None:
    full = {"checkpointing": "full", "reentrant": True}
    plain, all_, half = (
        part(recipe).layer(False).backward for recipe in ({}, full, full | {"checkpoint_every": 2})
    )
    assert half == pytest.approx(plain.plus(all_.plus(plain, -1.0), 0.5))


def test_a_loop_over_experts_launches_sixteen_kernels_of_each_beside_its_matmuls() -> None:
    model = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
    recipe = {"attention": "flash", "params": "bf16", "compute": "bf16"}
    job = Job.read({"model": model, "recipe": recipe, "gpu": "A100-80GB", "framework": "trl"})
    found = BatchTime(job, Machine.of(find("A100-80GB"), "bf16"))
    alone = found.layer(sparse=True)
    found.loops = False
    together = found.layer(sparse=True)
    assert alone.forward.kernels - together.forward.kernels == 3 * 127 + 6 * 128
    assert alone.backward.kernels - together.backward.kernels == 2 * 3 * 127 + 10 * 128
    found.loops = True
    assert found.layer(sparse=False).forward.kernels == 7 + 1 + 26 + 6  # norms of q and k


def test_an_expert_that_gets_half_a_token_computes_a_whole_one() -> None:
    given = {"attention": "flash", "micro_batch": 1, "seq_len": 8}  # to eight of 128 experts each
    model = CATALOGUE["Qwen/Qwen3-30B-A3B"].config
    found = BatchTime(Job.read({"model": model, "recipe": given}), Machine.of(find("H100"), "bf16"))
    gate, down = found.matmuls(True)[-2:]
    rates = found.machine.rates
    seconds = 2 * matmul_seconds(1, 768, 2048, rates, 2, 2, 128)
    seconds += matmul_seconds(1, 2048, 768, rates, 2, 2, 128)
    assert found._matmuls((gate, down))[0] == pytest.approx(seconds)


def test_nothing_takes_no_seconds_and_is_added_once() -> None:
    assert Seconds() == (0, 0, 0, 0)
    assert Seconds(1, 2, 3, 4).plus(Seconds(1, 1, 1, 1)) == (2, 3, 4, 5)


def test_all_but_a_layers_last_matmul_is_repeated_and_of_a_sparse_one_all_of_it() -> None:
    plain, again = part().layer(False), part({"checkpointing": "full"}).layer(False)
    last = matmul_seconds(TOKENS, 4096, 14336, part().machine.rates, 2, 2)
    repeated = again.backward.matmuls - plain.backward.matmuls
    assert repeated == pytest.approx(plain.forward.matmuls - last, rel=1e-9)
    config = CATALOGUE["Qwen/Qwen3-30B-A3B"].config

    def sparse(checkpointing: str) -> BatchTime:
        recipe = {"attention": "flash", "seq_len": 4096, "checkpointing": checkpointing}
        job = Job.read({"model": config, "recipe": recipe, "gpu": "H100"})
        return BatchTime(job, Machine.of(find("H100"), "bf16"))

    kept, remade = (sparse(way).layer(True) for way in ("none", "full"))
    assert remade.backward == pytest.approx(kept.backward.plus(kept.forward))
    rates, found = sparse("none").machine.rates, 0.0
    for outputs, inputs, times in (
        (4096, 2048, 1),
        (512, 2048, 2),
        (2048, 4096, 1),
        (128, 2048, 1),
    ):
        found += times * matmul_seconds(4096, outputs, inputs, rates)
    tokens = 4096 * 8 // 128  # of each of 128 experts, in one kernel
    found += 2 * matmul_seconds(tokens, 768, 2048, rates, 2, 2, 128)
    found += matmul_seconds(tokens, 2048, 768, rates, 2, 2, 128)
    assert kept.forward.matmuls == pytest.approx(found)


def test_gradients_in_fp32_are_written_as_such_unless_they_are_sharded_at_once() -> None:
    """Of 16 tokens: such a matmul takes as long as its result takes to write."""
    few = {"micro_batch": 1, "seq_len": 16, "grads": "fp32"}
    whole, cut = (
        part(few, gpus=8, sharding=sharding).layer(False).backward.matmuls
        for sharding in ("zero2", "zero3")
    )
    assert whole - cut == pytest.approx(WEIGHT_GRADIENT * (4 - 2) * WEIGHTS / MEMORY)


def test_between_two_kernels_a_busy_gpu_waits_for_13_tenths_of_a_microsecond() -> None:
    found = part()
    layer, ends = found.layer(False), found.outside()
    kernels = 32 * (layer.forward.kernels + layer.backward.kernels)
    kernels += ends.forward.kernels + ends.backward.kernels
    assert step_time(found.job).launches == pytest.approx(1.3e-6 * kernels)


@pytest.mark.parametrize(("shares", "ranks"), [(False, 1), (True, 2)])
def test_ranks_move_norms_whole_unless_they_share_the_sequence(shares: bool, ranks: int) -> None:
    found = part(gpus=2, tensor_parallel=2, sequence_parallel=shares)
    moved = layer_moved(found.local, found.setup, False, ranks)
    assert found.layer(False).forward.memory == pytest.approx(TOKENS * moved.forward / MEMORY)
