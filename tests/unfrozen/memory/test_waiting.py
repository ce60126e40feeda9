"""Gradients that wait: whole, in buckets, all at once; beside PyTorch's own FSDP2 and DDP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.instants import Step, instants
from unfrozen.model.catalogue import CATALOGUE

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].model
N = LLAMA.num_parameters
PURE: dict[str, Any] = {"master": None, "checkpointing": "full", "attention": "flash"}
ACCUMULATED = PURE | {"grad_accum": 4, "no_sync": True}
GPUS = Cluster(8, "zero3")


@pytest.fixture
def one_process() -> Iterator[None]:
    """A group of this process alone: what GPUs do among themselves, on one."""
    store = distributed.HashStore()
    distributed.init_process_group(
        "gloo", store=store, rank=0, world_size=1, timeout=timedelta(seconds=60)
    )
    yield
    distributed.destroy_process_group()


def sharded(reduce: torch.dtype | None) -> torch.nn.Module:
    model = torch.nn.Sequential(*(torch.nn.Linear(16, 16, bias=False) for _ in range(3)))
    model = model.to(torch.bfloat16)
    mesh = init_device_mesh("cpu", (1,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=reduce)
    for layer in model:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    return fully_shard(model, mesh=mesh, mp_policy=policy)


def waiting_bytes(model: torch.nn.Module) -> int:
    """Bytes of the whole gradients that FSDP2 holds back."""
    held = 0
    for layer in model:  # type: ignore[attr-defined]
        for group in layer._get_fsdp_state()._fsdp_param_groups:
            for one in group.fsdp_params:
                waits = one.unsharded_accumulated_grad
                grad = waits if waits is not None else one._unsharded_param.grad
                held += 0 if grad is None else grad.numel() * grad.element_size()
    return held


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("reduce", "width"), [(torch.float32, 4), (None, 2), (torch.bfloat16, 2)])
def test_fsdp2_holds_gradients_whole_as_wide_as_it_will_sum_them(
    reduce: torch.dtype | None, width: int
) -> None:
    model = sharded(reduce)
    model.set_requires_gradient_sync(False)  # type: ignore[operator]
    for _ in range(2):
        model(torch.randn(4, 16)).sum().backward()
    assert waiting_bytes(model) == width * 3 * 16 * 16
    assert all(parameter.grad is None for parameter in model.parameters())
    model.set_requires_gradient_sync(True)  # type: ignore[operator]
    model(torch.randn(4, 16)).sum().backward()
    assert waiting_bytes(model) == 0
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("reduce", "width"), [("fp32", 4), ("bf16", 2), (None, 2)])
def test_gradients_that_wait_are_whole_in_the_pass_and_shards_in_the_update(
    reduce: str | None, width: int
) -> None:
    found = instants(LLAMA, Recipe.read(ACCUMULATED | {"reduce": reduce}), GPUS)
    for name in ("end_of_forward", "backward"):
        assert found[name]["grads"] == width * N
    for name in ("end_of_backward", "optimizer_step"):
        assert found[name]["grads"] == -(-2 * N // 8)


def test_tensor_parallel_ranks_hold_their_part_of_waiting_gradients() -> None:
    cluster = Cluster(8, "zero3", tensor_parallel=4)
    step = Step(LLAMA, Recipe.read(ACCUMULATED | {"reduce": "fp32"}), cluster)
    assert step.instants()["end_of_forward"]["grads"] == 4 * step.local.num_parameters


@pytest.mark.parametrize(
    ("recipe", "cluster"),
    [
        (PURE | {"no_sync": True}, GPUS),  # one micro-batch: nothing waits
        (ACCUMULATED | {"method": "lora"}, GPUS),
        (ACCUMULATED, Cluster(8, "zero1")),
        (ACCUMULATED, Cluster()),
    ],
)
def test_where_nothing_would_be_summed_early_the_word_changes_nothing(
    recipe: dict[str, Any], cluster: Cluster
) -> None:
    told, silent = (
        instants(LLAMA, Recipe.read(recipe | {"no_sync": said}), cluster) for said in (True, False)
    )
    assert told == silent


def test_no_buffer_waits_beside_gradients_that_are_not_summed() -> None:
    each = [
        instants(LLAMA, Recipe.read(ACCUMULATED | {"no_sync": said}), GPUS)["backward"]["workspace"]
        for said in (True, False)
    ]
    assert each[0] < each[1]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("view", [False, True])
def test_ddp_sums_gradients_in_buckets_of_their_own_unless_they_are_views(view: bool) -> None:
    layer = torch.nn.Linear(16, 16)
    model = DistributedDataParallel(layer, gradient_as_bucket_view=view)
    model(torch.randn(4, 16)).sum().backward()
    storages = {
        p.grad.untyped_storage().data_ptr() for p in layer.parameters() if p.grad is not None
    }
    assert len(storages) == (1 if view else 2)


@pytest.mark.parametrize(
    ("chosen", "cluster", "copies"),
    [
        (None, Cluster(8), 1),
        (False, Cluster(8), 0),
        (True, Cluster(8), 1),
        (None, Cluster(), 0),
        (True, Cluster(), 0),
        (None, Cluster(8, tensor_parallel=8), 0),
        (None, Cluster(8, "zero2"), 0),
    ],
)
def test_whole_copies_of_a_model_hold_gradients_twice(
    chosen: bool | None, cluster: Cluster, copies: int
) -> None:
    step = Step(LLAMA, Recipe.read(PURE | {"grad_buckets": chosen}), cluster)
    assert step.buckets == copies * 2 * step.local.num_parameters
    found = step.instants()["end_of_backward"]
    assert found.get("workspace", 0) == step.buckets


def test_a_model_compiled_as_one_adds_all_gradients_at_the_end() -> None:
    given = PURE | {"kernels": "fused", "grad_accum": 2}
    blocks, whole = (
        Step(LLAMA, Recipe.read(given | {"whole_compile": said})).points["backward"]
        for said in (False, True)
    )
    assert blocks["fresh"] == 2 * LLAMA.largest_tensor
    assert whole["fresh"] == 2 * N
    assert whole["widened"] == 4 * 128256 * 4096  # the embedding's sum is fp32
    alone = Step(LLAMA, Recipe.read(given | {"whole_compile": True, "grad_accum": 1}))
    assert "fresh" not in alone.points["backward"]


@pytest.mark.parametrize(
    ("loss", "width"),
    [("logits_fp32", 4), ("logits_bf16", 2), ("chunked", 2), ("fused_linear", 0), ("linear", 0)],
)
def test_logits_that_a_loop_names_stay_until_the_next_forward_pass(loss: str, width: int) -> None:
    recipe = Recipe.read(PURE | {"loss": loss, "keeps_outputs": True, "seq_len": 1024})
    step = Step(LLAMA, recipe)
    assert step.micro_batch.held == width * 1024 * 128256
    for name in ("backward", "end_of_backward", "optimizer_step"):
        assert step.instants()[name].get("logits_loss", 0) == step.micro_batch.held


def test_a_root_that_is_let_go_of_is_not_there_while_the_loss_is_computed() -> None:
    given = Recipe.read(PURE)
    stays, leaves = (
        Step(LLAMA, given, Cluster(8, "zero3", root_resharded=said)).instants()
        for said in (False, True)
    )
    assert "gathered" in stays["end_of_forward"]
    assert "gathered" not in leaves["end_of_forward"]
    assert leaves["backward"] == stays["backward"]


def test_an_embedding_that_is_not_split_is_whole_on_each_rank() -> None:
    given = Recipe.read(PURE)
    split, whole = (
        Step(LLAMA, given, Cluster(4, tensor_parallel=4, whole_embedding=said))
        for said in (False, True)
    )
    more = 2 * 3 * split.local.architecture.vocab * 4096
    assert whole.states["params"] - split.states["params"] == pytest.approx(more, rel=1e-6)


@pytest.mark.parametrize("compute", ["fp8", "int8", "mxfp8", "nvfp4"])
def test_products_of_few_bits_cast_their_factors_and_keep_16_bits(compute: str) -> None:
    plain, few = (
        Step(LLAMA, Recipe.read(PURE | {"compute": c})).micro_batch for c in ("bf16", compute)
    )
    assert few.layer == plain.layer
    casts = {point.get("low_casts", 0) for point in few.layer_points()} - {0}
    assert len(casts) == 1
    width = {"nvfp4": 9 / 16, "mxfp8": 33 / 32}.get(compute, 1)
    assert casts.pop() == round(width * 4096 * (2048 + 14336))
