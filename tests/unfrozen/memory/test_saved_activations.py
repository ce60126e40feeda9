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
)
from unfrozen.memory.workspace import workspace_points
from unfrozen.model.architecture import Delta, Dual, Mixer, Selective
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
    fixed = [point.fixed for point in workspace_points(MIXTRAL, cast)]
    assert sorted(fixed)[-2:] == [2 * down, 4 * down]
    assert not [point for point in workspace_points(MIXTRAL, wide) if point.fixed]


def test_without_autocast_it_makes_no_difference_whether_experts_are_cast() -> None:
    for params in ("bf16", "fp16"):
        flows = [kept(MIXTRAL, params=params, experts_cast=way).setup for way in (False, True)]
        assert workspace_points(MIXTRAL, flows[0]) == workspace_points(MIXTRAL, flows[1])
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
