"""What layers keep: each n-th made again, sampled ones, routers that hold what leads to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.activations import layer_saved_tensors
from unfrozen.memory.instants import Step
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.memory.saved_activations import (
    SavedActivations,
    kind_bytes,
    mixer_saved_tensors,
    saved_bytes,
    saved_tensors,
)
from unfrozen.memory.workspace import workspace_points
from unfrozen.model.architecture import Convolution, Delta, Dual, Latent, Mixer, Selective
from unfrozen.model.catalogue import CATALOGUE, PublishedModel

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].model
MIXTRAL = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model
FULL = {"checkpointing": "full", "attention": "flash"}


def kept(model: Any = LLAMA, **recipe: Any) -> SavedActivations:
    return SavedActivations(model, Recipe.read(recipe), Cluster())


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.hub_id)
def test_what_grows_with_the_sequence_is_known_from_two_lengths(entry: PublishedModel) -> None:
    for choice in ({"attention": "eager", "dropout": 0.1}, {"attention": "sdpa"}, FULL):
        setup = LayerSetup.of(entry.model, Recipe.read({"seq_len": 777, **choice}))
        direct = {
            saved_bytes(entry.model.architecture.of_layer(kind.first), setup, kind.sparse)
            for kind in entry.model.kinds
        }
        assert {size for size, _ in kind_bytes(entry.model, setup)} == direct


@pytest.mark.parametrize(("every", "again"), [(1, 32), (2, 16), (3, 11), (32, 1), (99, 1)])
def test_of_each_n_layers_the_first_is_made_again(every: int, again: int) -> None:
    found = kept(**FULL, checkpoint_every=every)
    assert sum(found.is_recomputed(layer) for layer in range(32)) == again
    assert found.layers == again * found.kept + (32 - again) * found.layer
    assert found.first_layers_bytes(32) == found.layers
    assert found.first_layers_bytes(1) == found.kept
    assert found.recomputed(0) > 0
    assert found.recomputed(1) == (0 if every > 1 else found.recomputed(0))


@pytest.mark.parametrize(("every", "whole"), [(1, 0), (2, 1), (3, 2), (9, 2)])
def test_of_two_layers_on_their_way_to_the_host_some_are_whole(every: int, whole: int) -> None:
    found = kept(**FULL, checkpoint_every=every, activation_offload=True)
    assert found.layers == whole * found.layer + (2 - whole) * found.kept


def test_fewer_layers_made_again_hold_more_and_all_of_them_as_much_as_none() -> None:
    peaks = [
        max(sum(c.values()) for c in Step(LLAMA, Recipe.read(given)).instants().values())
        for given in (
            *(FULL | {"micro_batch": 8, "checkpoint_every": every} for every in (1, 2, 4, 8, 32)),
            FULL | {"micro_batch": 8, "checkpointing": "none"},
        )
    ]
    assert peaks == sorted(peaks)
    assert len(set(peaks)) == len(peaks)


class Router(torch.nn.Module):
    """A gate that keeps its auxiliary loss by name, as KempnerForge's does, or does not."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.gate = torch.nn.Linear(64, 4)
        self.named, self.aux = named, torch.zeros(())
        self.seen: list[StorageWeakRef] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = x * 2
        self.seen.append(StorageWeakRef(hidden.untyped_storage()))
        scores = self.gate(hidden).softmax(-1)
        if self.named:
            self.aux = scores.square().mean()
        return x + hidden * hidden * scores.sum(-1, keepdim=True)


@pytest.mark.parametrize("named", [True, False])
def test_a_loss_that_a_router_names_holds_what_leads_to_it_after_the_backward_pass(
    named: bool,
) -> None:
    router = Router(named)
    x = torch.randn(8, 64, requires_grad=True)
    out = checkpoint(router, x, use_reentrant=False)
    (out.sum() + (router.aux if named else 0)).backward()
    first, second = router.seen
    assert first.expired()
    assert second.expired() != named


def test_held_routers_add_up_while_layers_are_made_again() -> None:
    recipe = FULL | {"router_held": True}
    found = kept(MIXTRAL, **recipe)
    one = found.routers(1)
    assert 0 < one < found.layer
    assert found.routers(32) == 32 * one
    for other in (recipe | {"router_held": False}, recipe | {"checkpointing": "none"}):
        assert kept(MIXTRAL, **other).routers(32) == 0
    assert kept(LLAMA, **recipe).routers(32) == 0
    after = Step(MIXTRAL, Recipe.read(recipe)).instants()["optimizer_step"]
    assert after["activations"] == 32 * one


@pytest.mark.parametrize(("padding", "places"), [(None, 1), (1, 1), (1.5, 1.5), ("fullest", 4)])
def test_padded_experts_have_places_for_more_tokens_than_they_are_sent(
    padding: Any, places: float
) -> None:
    setup = kept(MIXTRAL, expert_padding=padding).setup
    plain = {
        item.label: item.size
        for item in layer_saved_tensors(MIXTRAL.architecture, kept(MIXTRAL).setup, True)
    }
    found = {
        item.label: item.size for item in layer_saved_tensors(MIXTRAL.architecture, setup, True)
    }
    assert found["experts"] == places * plain["experts"]
    copies = "copies for the experts, in and out"
    assert found[copies] == plain[copies] * (places + 1) / 2  # what goes back does not grow
    assert found["q, k and v"] == plain["q, k and v"]
    assert kept(LLAMA, expert_padding=padding).layer == kept(LLAMA).layer


def test_experts_that_are_cast_keep_half_and_have_one_products_weights_twice() -> None:
    wide, cast = (
        kept(MIXTRAL, params="fp32", experts_cast=way, checkpointing="none").setup
        for way in (False, True)
    )
    plain, found = (
        {item.label: item.size for item in layer_saved_tensors(MIXTRAL.architecture, setup, True)}
        for setup in (wide, cast)
    )
    for label in ("experts", "copies for the experts, in and out"):
        assert found[label] == plain[label] / 2
    assert {label for label in plain if plain[label] != found[label]} <= {
        "experts",
        "copies for the experts, in and out",
    }
    e = MIXTRAL.architecture.experts
    assert e is not None
    down = e.count * e.ffn * MIXTRAL.architecture.hidden
    fixed = [point.fixed for point in workspace_points(MIXTRAL, cast, 1, 0)]
    assert sorted(fixed)[-2:] == [2 * down, 4 * down]
    assert not [point for point in workspace_points(MIXTRAL, wide, 1, 0) if point.fixed]


def test_without_autocast_it_makes_no_difference_whether_experts_are_cast() -> None:
    for params in ("bf16", "fp16"):
        flows = [kept(MIXTRAL, params=params, experts_cast=way).setup for way in (False, True)]
        one, other = (workspace_points(MIXTRAL, setup, 1, 0) for setup in flows)
        assert one == other
        assert kept(MIXTRAL, params=params, experts_cast=True).layer == kept(MIXTRAL).layer


@pytest.mark.parametrize(
    ("mixer", "numbers", "others"),
    [
        # q and k of 2 heads · 8, v of 4 · 16, before and after the convolution; z, the output, its
        # norm and their product; three gates a head, and a state of 8 · 16 a head each 64 tokens
        (Delta(2, 4, 8, 16, 4), 2 * (16 + 16 + 64) + 4 * 64, [3 * 4 * 4, 4 * 4 * 8 * 16 // 64]),
        # x of 4 heads · 8, B and C of 2 groups · 16, twice; z, the output, and its norm; step and
        # decay a head, and a state of 8 · 16 a head each 32 tokens
        (Dual(4, 8, 16, 2, 4, 32), 2 * (32 + 32 + 32) + 3 * 32, [2 * 4 * 4, 4 * 4 * 8 * 16 // 32]),
        (Dual(4, 8, 16, 2, 4, 32, False), 2 * (32 + 32 + 32) + 2 * 32, [32, 64]),
        # x, z, x after the convolution, steps, the output; what steps come from, B and C
        (Selective(32, 8, 3, 4), 5 * 32 + 3 + 8 + 8, []),
    ],
    ids=["delta", "dual", "dual without a norm", "selective"],
)
def test_kernels_of_mixers_save_their_inputs_in_16_bits_and_what_they_carry_in_fp32(
    mixer: Mixer, numbers: int, others: list[int]
) -> None:
    for params, width in (("bf16", 2), ("fp32", 4)):
        setup = kept(params=params, compute=params).setup
        found = mixer_saved_tensors(mixer, LLAMA.architecture, setup)
        assert [item.size for item in found] == [width * numbers, *others]


T, H = 2048, 4096


def shared(model: Any = LLAMA, cluster: Cluster | None = None, **recipe: Any) -> SavedActivations:
    return SavedActivations(
        model, Recipe.read({"attention": "flash"} | recipe), cluster or Cluster()
    )


def test_buffers_of_two_ranks_by_hand() -> None:
    ranks = shared(cluster=Cluster(2, tensor_parallel=2, sequence_parallel=True))
    gathered = 2 * T * H  # a layer's input, and inside a layer another
    assert ranks.parallel_buffers(layer=True) == {"gathered_inputs": 2 * gathered}
    assert ranks.parallel_buffers(layer=False) == {"gathered_inputs": gathered}
    half = shared(cluster=Cluster(2, context_parallel=2))
    assert half.tokens == T // 2
    assert half.parallel_buffers(layer=True) == {"ring": 4 * 2 * T // 2 * 1024}
    assert half.parallel_buffers(layer=False) == {}
    experts = shared(MIXTRAL, Cluster(2, expert_parallel=2))
    assert experts.parallel_buffers(layer=True) == {"dispatched": 2 * T * 2 * H}
    unpacked = shared(method="qlora")
    assert unpacked.parallel_buffers(layer=True) == {"dequantised": 2 * 14336 * H}
    assert shared().parallel_buffers(layer=True) == {}


def test_autocast_keeps_copies_of_the_layers_that_nothing_makes_again() -> None:
    matrices, head = LLAMA.layer_linears, LLAMA.architecture.head_size
    plain = shared(params="fp32")
    assert plain.casts(32) == 2 * 32 * matrices
    assert plain.casts(0, head=True) == 2 * head
    again = shared(params="fp32", checkpointing="full")
    assert [again.casts(layers) for layers in (0, 1, 32)] == [0, 2 * matrices, 2 * matrices]
    assert again.casts(32, forward=True, head=True) == 2 * (32 * matrices + head)
    assert shared().casts(32, head=True) == 0
    block = shared(params="fp32", kernels="fused_block")
    assert block.casts(32) == 2 * 32 * H * H  # of q alone; the others are cast again
    sharded = shared(params="fp32", cluster=Cluster(2, "zero3"))
    assert sharded.casts(32, head=True) == 0  # gathered in 16 bits


def test_autocast_copies_of_frozen_weights_are_those_below_which_a_gradient_flows() -> None:
    lora = {"targets": ["q_proj"], "dtype": "fp32", "autocast": False}
    frozen = shared(params="fp32", method="lora", lora=lora)
    adapters = 16 * (H + H) if frozen.setup.adapters and frozen.setup.adapters.cast else 0
    unread = H * (H + 2 * 1024)  # the first layer's q, k and v
    assert frozen.casts(32) == 2 * (32 * LLAMA.layer_linears - unread + 32 * adapters)
    again = shared(params="fp32", method="lora", lora=lora, checkpointing="full")
    assert again.casts(32) == 2 * (LLAMA.layer_linears + adapters)
    assert again.casts(32, forward=True) == 2 * 32 * adapters
    assert frozen.casts(0) == 0
    packed = shared(params="fp32", method="qlora", lora=lora, checkpointing="full")
    assert packed.casts(32) == 2 * adapters  # of 4 bits: unpacked, not cast


def test_a_head_in_fp32_beside_adapters_is_cast_once() -> None:
    lora = {"targets": ["q_proj", "lm_head"], "saved_fp32": True}
    part = shared(method="lora", lora=lora)
    assert part.casts(32, head=True) == 2 * 128256 * H
    assert part.casts(32) == shared(method="lora").casts(32, head=True) == 0


def test_layers_of_adapters_save_all_but_what_is_below_the_first_one() -> None:
    part = shared(method="lora", lora={"targets": ["q_proj"], "dropout": 0.0})
    norm = 4 * H + 4
    assert part.layers == 32 * part.kept - T * norm
    assert part.folds == 0


def test_stacks_of_experts_with_adapters_are_added_up_and_wide_ones_cast() -> None:
    stacks = 2 * 8 * 3 * H * 14336
    adapters = 16 * (8 * (H + 2 * 14336) + 8 * (14336 + H))
    for dtype, casts in (("bf16", 0), ("fp32", 2 * adapters)):
        lora = {"targets": ["experts"], "library": "peft", "dtype": dtype}
        assert shared(MIXTRAL, method="lora", lora=lora).folds == stacks + casts


def test_a_layer_without_attention_or_mlp_has_one_norm_and_one_input() -> None:
    model = CATALOGUE["state-spaces/mamba-130m-hf"].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"}))
    sizes = {item.label: item.size for item in saved_tensors(model.architecture, setup)}
    assert sizes["norms: input and normalised values"] == 6 * 768 + 4
    assert sizes["inputs of the linear layers"] == 2 * 768


def test_latent_attention_and_a_convolution_by_hand() -> None:
    setup = LayerSetup.of(LLAMA, Recipe.read({"attention": "flash", "seq_len": 35}))
    latent = mixer_saved_tensors(Latent(4, 24, 16, 8, 2, 6), LLAMA.architecture, setup)
    norms = (6 * 16 + 4) + 2 * 16 + (6 * 24 + 4) + 2 * 24  # and what their matmuls read
    assert [item.size for item in latent] == [
        norms,
        2 * 4 * (2 * (8 + 2) + 8 + 6),
        2 * 2 * 4 * 6,  # a copy is made where the layout differs
        4 * 4,
    ]
    whole = mixer_saved_tensors(Latent(4, 0, 16, 8, 2, 6), LLAMA.architecture, setup)
    assert whole[0].size == (6 * 16 + 4) + 2 * 16
    wide = {"attention": "eager", "seq_len": 35, "params": "fp32", "compute": "fp32"}
    eager = LayerSetup.of(LLAMA, Recipe.read(wide))
    found = mixer_saved_tensors(Latent(4, 0, 16, 8, 2, 6), LLAMA.architecture, eager)
    assert [item.size for item in found] == [
        (8 * 16 + 4) + 4 * 2 + 4 * 16,  # a wider copy leaves what has positions behind
        4 * 4 * (2 * (8 + 2) + 6),
        4 * 4 * 6,
        4 * 4 * 35,
    ]
    narrow = LayerSetup.of(LLAMA, Recipe.read({"attention": "eager", "seq_len": 35}))
    scores = mixer_saved_tensors(Latent(4, 0, 16, 8, 2, 6), LLAMA.architecture, narrow)[-1]
    assert scores.size == (2 + 4) * 4 * 35  # and in fp32
    (gates,) = mixer_saved_tensors(Convolution(64, 3), LLAMA.architecture, setup)
    assert gates.size == 2 * (3 * 64 + 64 + 64 * 37 // 35 + 64)
