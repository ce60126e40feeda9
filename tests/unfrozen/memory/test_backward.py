"""One micro-batch: its highest points, taken apart into named pieces."""

from __future__ import annotations

from typing import Any

import pytest

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
    cut = micro_batch(optimizer_in_backward=True, master=None, cluster=Cluster(8, "zero3"))
    assert {point["grads"] for point in cut.layer_points()} == {0}  # in buffers, whole
    assert [point["grads"] for point in part.forward_points()] == [0, head, 0]


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
    sharded = micro_batch(grad_accum=2, cluster=Cluster(8, "zero3"))
    assert {point["fresh"] for point in sharded.layer_points()} == {0}  # in a buffer of its unit


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


T, H, HEAD = 2048, 4096, 128256 * 4096


def test_the_ends_of_the_backward_pass_by_hand() -> None:
    part = micro_batch(attention="flash", master=None)
    norm, *inside, at_embedding, end = part.layer_points()
    assert norm["norm"] == 20 * T * H  # fp32 copies of the last norm's input and its gradient
    assert (norm["grads"], end["grads"]) == (2 * HEAD, 2 * LLAMA.num_parameters)
    assert [point["grads"] for point in part.forward_points()] == [0, 2 * HEAD, 0]
    assert {point["casts"] for point in inside} == {part.held} == {part.watched} == {0}
    assert at_embedding["outside"] == end["outside"] == 8 * T  # ids, as int64
    assert at_embedding["embedding"] == 2 * T * H
    assert (at_embedding["tied"], at_embedding["widened"]) == (0, 0)
    first = LLAMA.num_parameters - LLAMA.layer_parameters(0) - HEAD
    assert [reached for _, reached in part._places()] == [HEAD, first]
    tied = CATALOGUE["meta-llama/Llama-3.2-1B"].model  # whose embedding comes first, with the head
    above = tied.num_parameters - tied.layer_parameters(5)
    assert micro_batch(tied)._places() == [(0, 128256 * 2048), (15, above)]


def test_a_tied_embedding_has_two_gradients_at_once_and_a_compiled_one_is_summed_in_fp32() -> None:
    tied = CATALOGUE["meta-llama/Llama-3.2-1B"].model
    head = 128256 * 2048
    assert micro_batch(tied).layer_points()[-2]["tied"] == 2 * 2 * head
    compiled = micro_batch(whole_compile=True, attention="flash", kernels="fused")
    assert compiled.layer_points()[-2]["widened"] == 4 * HEAD
    wide = {"params": "fp32", "compute": "fp32", "kernels": "fused", "attention": "sdpa"}
    assert micro_batch(whole_compile=True, **wide).layer_points()[-2]["widened"] == 0


def test_sharded_layers_are_looked_at_where_others_are_on_their_way() -> None:
    part = micro_batch(cluster=Cluster(8, "zero3"))
    each = (LLAMA.num_parameters - LLAMA.outer_parameters) // 32
    places = dict(part._places())
    assert list(places) == [0, 1, 30, 31]
    last, before, _, first = [p for p in part.layer_points() if "feed_forward" in p]
    layer = LLAMA.layer_parameters(0)  # in whose place the one before is summed
    assert before["unreduced"] - last["unreduced"] == 2 * layer
    assert before["gathered"] - first["gathered"] == 2 * layer  # none comes after the first
    assert (places[1], places[30]) == (HEAD + each, HEAD + 30 * each)
    every = micro_batch(checkpointing="full", checkpoint_every=2)
    assert list(dict(every._places())) == list(range(32))


@pytest.mark.parametrize(("params", "rows", "width"), [("bf16", T, 2), ("fp32", 2 * T, 4)])
def test_a_linear_loss_has_the_last_norms_output_beside_it(
    params: str, rows: int, width: int
) -> None:
    """Under autocast also its selected rows, before they are cast."""
    part = micro_batch(loss="linear", params=params, attention="flash")
    at_loss, *_ = part.forward_points()
    assert at_loss["loss"] == part.loss.at_loss + width * H * rows
    others, *_ = micro_batch(attention="flash", params=params).forward_points()
    assert others["loss"] == 3 * 4 * T * 128256


def test_the_first_layer_may_be_of_another_kind_than_the_others() -> None:
    """DeepSeek's is dense, as the layer that is differentiated last."""
    deepseek = CATALOGUE["deepseek-ai/DeepSeek-V2-Lite"].model
    part = micro_batch(deepseek)
    (_, head), (_, above_first) = part._places()
    embedding = 102400 * 2048
    dense = sum(tensor.size for tensor in deepseek.layer_tensors(0))
    assert (head, above_first) == (embedding, deepseek.num_parameters - dense - embedding)
    inside = [point for point in part.layer_points() if "feed_forward" in point]
    assert len(inside) == 3 + 1  # experts have three points, an MLP has one


def test_a_frozen_head_saves_no_input() -> None:
    assert micro_batch(method="lora").saved_point()["head_input"] == 0
    assert micro_batch().saved_point()["head_input"] == 2 * H * T


def test_embedding_and_head_that_train_beside_adapters_have_their_gradients_in_turn() -> None:
    lora = {"targets": ["q_proj", "embed_tokens", "lm_head"], "rank": 16, "dtype": "fp32"}
    part = micro_batch(method="lora", lora=lora)
    thin, whole = part.grads_bytes - 2 * (part.grads_of(1)), part.grads_bytes
    count = LLAMA.num_parameters
    assert (part.grads_of(0), part.grads_of(count)) == (0, whole)
    one = (whole - thin) // 2  # the head's, and the embedding's
    assert part.grads_of(HEAD) == pytest.approx(one, rel=1e-6)
    assert part.grads_of(count - 1) == pytest.approx(one + thin, rel=1e-6)
    inside = LLAMA.num_parameters - LLAMA.outer_parameters
    cut = micro_batch(method="lora", lora=lora, cluster=Cluster(1, "zero3"))
    assert cut.grads_of(HEAD // 2) == 0  # in the root, until the pass is over
    adapters = micro_batch(method="lora")
    half = adapters.grads_of(HEAD + inside // 2)
    assert half == pytest.approx(adapters.grads_bytes / 2, rel=1e-6)
    assert adapters.grads_of(HEAD // 2) == 0


def test_ids_are_all_that_is_left_at_the_embeddings_update() -> None:
    part = micro_batch(optimizer_in_backward=True, master=None, attention="flash")
    in_layer, at_embedding = layer_update_points(part)
    assert at_embedding["outside"] == 8 * T
    assert in_layer["embedding"] == 2 * T * H
    assert in_layer["layers"] == part.layers
    again: dict[str, Any] = {"checkpointing": "full", "kernels": "fused_block"}
    for every in (1, 2):
        recomputes = micro_batch(
            optimizer_in_backward=True, master=None, checkpoint_every=every, **again
        )
        in_layer, _ = layer_update_points(recomputes)
        assert bool(in_layer["recomputed"]) == (every == 1)  # the last one is
        gate_and_up = T * 2 * 2 * 14336  # freed by then, of what was kept where that is all
        freed = 0 if every == 1 else gate_and_up
        assert recomputes.layers - in_layer["layers"] == freed
    eager = micro_batch(optimizer_in_backward=True, master=None, attention="eager")
    scores = [point for point in eager.layer_points() if "scores" in point]
    assert [point["grads"] for point in scores] == [0] * len(scores) != []


def test_a_frozen_head_sends_no_gradient() -> None:
    part = micro_batch(method="lora", cluster=Cluster(8, "zero3"))
    _, at_head, _ = part.forward_points()
    assert at_head["unreduced"] == at_head["head_weight"] == 0


@pytest.mark.parametrize(("every", "recomputed"), [(1, [True, True]), (2, [False, True])])
def test_the_last_layer_is_differentiated_first_and_recomputed_where_it_was_not_saved(
    every: int, recomputed: list[bool]
) -> None:
    recipe = {"checkpointing": "full", "checkpoint_every": every, "attention": "flash"}
    part = micro_batch(**recipe)
    inside = [point for point in part.layer_points() if "feed_forward" in point]
    assert [bool(point["recomputed"]) for point in (inside[0], inside[-1])] == recomputed


def test_a_micro_batch_without_a_head_or_an_embedding_has_neither_loss_nor_ids() -> None:
    middle = Step(LLAMA, Recipe(), Cluster(4, pipeline_parallel=4), rank=1).micro_batch
    (saved,) = middle.forward_points()
    assert saved["grads"] == 0
    *_, at_embedding, end = middle.layer_points()
    assert at_embedding["outside"] == end["outside"] == 0
    again = micro_batch(optimizer_in_backward=True, master=None, checkpointing="none")
    in_layer, _ = layer_update_points(again)
    assert in_layer["recomputed"] == 0
    lora = {"targets": ["q_proj", "lm_head"]}
    beside = micro_batch(method="lora", lora=lora)
    assert beside.grads_of(HEAD // 2) == beside.grads_of(HEAD)  # of no layer yet
