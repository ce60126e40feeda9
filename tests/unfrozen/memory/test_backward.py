"""One micro-batch: its highest points, taken apart into named pieces."""

from __future__ import annotations

from typing import Any

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.backward import MicroBatchMemory, head_update_points, layer_update_points
from unfrozen.memory.instants import Step
from unfrozen.memory.points import POINT_TERMS, highest
from unfrozen.model.catalogue import CATALOGUE

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].model
MIXTRAL = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].model


def micro_batch(
    model: Any = LLAMA, cluster: Cluster | None = None, **recipe: Any
) -> MicroBatchMemory:
    return Step(model, Recipe.read(recipe), cluster).micro_batch


def test_every_piece_has_a_component_and_a_formula() -> None:
    part = micro_batch(method="qlora", attention="eager", cluster=Cluster(8, "zero3"))
    for point in (*part.forward_points(), *part.layer_points()):
        assert set(point) <= set(POINT_TERMS)


def test_offloaded_activations_leave_two_layers_on_the_gpu() -> None:
    kept, away = micro_batch(), micro_batch(activation_offload=True)
    assert kept.layers == 32 * kept.layer
    assert away.layers == 2 * kept.layer


def test_a_tensor_updated_at_once_leaves_one_gradient() -> None:
    part = micro_batch(optimizer_in_backward=True, master=None)
    head, matrix = 2 * 128256 * 4096, 2 * 14336 * 4096
    assert {point["grads"] for point in part.layer_points()} == {0, matrix, head}
    (at_head,) = head_update_points(part)
    assert (at_head["grads"], at_head["layers"]) == (head, part.layers)
    in_layer, at_embedding = layer_update_points(part)
    assert (in_layer["grads"], at_embedding["grads"]) == (matrix, head)


def test_a_tied_heads_gradient_waits_for_the_embedding() -> None:
    tied = CATALOGUE["meta-llama/Llama-3.2-1B"].model
    part = micro_batch(tied, optimizer_in_backward=True, master=None)
    head = 2 * 128256 * 2048
    assert not head_update_points(part)
    assert min(point["grads"] for point in part.layer_points() if "recomputed" in point) > head


def test_temporaries_of_optimizer_in_backwards_stand_beside_what_is_still_kept() -> None:
    part = micro_batch(optimizer_in_backward=True, master=None, optimizer="adafactor", step="rows")
    (at_head,) = head_update_points(part)
    assert at_head["update"] == 12 * 2**22


def test_main_gradients_that_are_wider_than_the_weights_live_through_the_forward_pass() -> None:
    for given in ({"grads": "fp32"}, {"grad_accum": 2}):
        part = micro_batch(**given)
        assert highest(part.forward_points())["grads"] == part.grads_bytes


def test_context_parallel_gpus_share_tokens_and_pass_keys_and_values_round() -> None:
    one, four = (
        micro_batch(cluster=Cluster(8, "zero1", context_parallel=n), attention="flash")
        for n in (1, 4)
    )
    assert (one.tokens, four.tokens) == (2048, 512)
    assert not [point for point in one.layer_points() if "ring" in point]
    assert any(point.get("ring") == 4 * 2 * 512 * 1024 for point in four.layer_points())


def test_tensor_parallel_gpus_share_a_layer_and_sequence_parallel_ones_its_norms_too() -> None:
    fused: dict[str, Any] = {"kernels": "fused", "attention": "flash"}
    one = micro_batch(**fused).layer
    four = micro_batch(cluster=Cluster(4, tensor_parallel=4), **fused).layer
    both = micro_batch(cluster=Cluster(4, tensor_parallel=4, sequence_parallel=True), **fused).layer
    assert one / 4 == both < four < one


def test_autocast_keeps_copies_of_all_weights_until_its_context_ends() -> None:
    part = micro_batch(params="fp32", checkpointing="full")
    at_loss, at_head, _ = part.forward_points()
    matrices, head = LLAMA.layer_matrices, 128256 * 4096
    assert at_loss["casts"] == 2 * (32 * matrices + head)
    assert at_head["casts"] == 2 * (matrices + head)


def test_a_layer_of_experts_is_highest_where_its_weights_get_their_gradients() -> None:
    part = micro_batch(MIXTRAL, checkpointing="full", micro_batch=4, seq_len=1024)
    inside = [point for point in part.layer_points() if "feed_forward" in point]
    assert len(inside) == 6  # three points, in the first layer differentiated and in the last
    assert highest(tuple(inside))["grads"] > 0.9 * part.grads_bytes
