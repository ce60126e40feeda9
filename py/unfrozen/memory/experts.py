"""Mixtures of experts: what a sparse MLP saves, and what its backward pass needs.

Each token goes to t of E experts of width f. transformers sorts the copies by expert and runs two
grouped matmuls over stacked weights, on CPU and on CUDA; those run in the precision of the
weights, also under autocast, unless weights are cast at each use (`Recipe.experts_cast`). Traced
with torch 2.13; the tests compare with a real forward pass.

Others pad: each expert to the fullest, which is at worst sent every token (KempnerForge,
kempnerforge/model/moe.py @bc775fe, `grouped_expert_forward`), or to a capacity, times the even
share (GShard, Lepikhin et al., arXiv 2006.16668, section 2.2; Switch, Fedus et al., arXiv
2101.03961, section 2.2), beyond which tokens are dropped. Places cost what tokens do; what is sent
back to the tokens does not grow.

Adapters of stacked experts are added to all of their weights before the matmul, which saves the
sum; its gradient is as large (PEFT 0.21 src/peft/tuners/lora/layer.py, `_LoraFactorsProxy`). Frozen
experts save no inputs of their matmuls.

Where GPUs share the experts out, a GPU gets as many copies for its experts as it sends away, if
the router is balanced; in the backward pass gradients of the copies go back the same way, out of
one buffer into another (Megatron-LM `megatron/core/transformer/moe/token_dispatcher.py`,
`MoEAlltoAllTokenDispatcher`; torchtitan `torchtitan/distributed/expert_parallel.py`,
`ExpertParallel`).
"""

from __future__ import annotations

from unfrozen.job.lora import STACKS
from unfrozen.memory.layer_setup import LayerSetup, SavedTensor
from unfrozen.model import Architecture
from unfrozen.model.architecture import Experts


def expert_saved_tensors(a: Architecture, setup: LayerSetup) -> list[SavedTensor]:
    """Return what the experts, their router and a shared expert save, in bytes per token.

    The router reads the same tensor as a dense part would; it is counted with the inputs of the
    linear layers.
    """
    experts = a.experts
    assert experts is not None
    t, f, e = experts.per_token, experts.ffn, setup.in_experts
    places = setup.padding * t
    inner = _inner(setup)
    if a.sinks and setup.kernels == "eager":  # gpt-oss' function is written out, with its bounds
        inner = 7
    if not experts.gated:
        inner = 2
    shared_inner, ins = inner, int(setup.reads_experts("experts_up"))
    inner -= not setup.reads_experts("experts_down")
    found = [
        SavedTensor("routing", "4·E + indices", _routing(a, experts, setup.stream), True),
        SavedTensor(
            "copies for the experts, in and out",
            f"{1 + ins}·{e}·t·h" if places == t else f"{e}·({ins * setup.padding:g} + 1)·t·h",
            round(e * (ins * places + t) * a.hidden),
            True,
        ),
        SavedTensor(
            "experts",
            f"{inner}·{e}·t·f" if places == t else f"{inner}·{e}·{setup.padding:g}·t·f",
            round(inner * e * places * f),
        ),
    ]
    if experts.shared_ffn:
        shared = shared_inner * setup.compute * experts.shared_ffn
        gate = setup.compute * (a.hidden + 1) if experts.shared_gate else 0
        found.append(
            SavedTensor("shared expert", f"{shared_inner}·{setup.compute}·f_shared", shared)
        )
        found.append(
            SavedTensor("gate of the shared expert", f"{setup.compute}·(h + 1)", gate, True)
        )
    return found


def folded_bytes(a: Architecture, setup: LayerSetup) -> tuple[int, int]:
    """Return the bytes of a layer's stacks with their adapters added, first and second matmul; 0
    where they have none.
    """
    if a.experts is None or setup.adapters is None:
        return 0, 0
    each = setup.compute * a.experts.local_count * a.experts.local_ffn * a.hidden
    up, down = (name in setup.adapters.stacks for name in STACKS)
    return up * (1 + a.experts.gated) * each, down * each


def dispatched_bytes(a: Architecture, setup: LayerSetup, tokens: int) -> int:
    """Return bytes of the buffer for tokens, or gradients, from other GPUs; 0 without experts."""
    return setup.stream * tokens * a.experts.per_token * a.hidden if a.experts else 0


def _routing(a: Architecture, experts: Experts, e: int) -> int:
    """Return what routing saves: scores, indices, weights, and their divisors."""
    t = experts.per_token
    cast = 4 * a.hidden if e < 4 else 0  # the router's input in fp32
    if experts.router == "gpt_oss":  # the scores of the chosen alone
        return 40 * t + 2 * e * t
    if experts.router == "sigmoid":  # fp32 scores of the input in fp32, groups of them, a mask
        groups = 16 * experts.groups + 8 * experts.top_groups
        cast = 0 if a.model_type == "minimax_m2" else cast
        return cast + 5 * experts.count + 40 * t + groups + 4
    if a.model_type == "deepseek_v2":  # the same in fp32, without groups
        return cast + 4 * experts.count + 40 * t
    weights = 4 if a.model_type == "mixtral" else e
    cast = cast if experts.router == "ernie" else 0
    return (
        cast + 4 * experts.count + 32 * t + weights * t + (4 * t + 4 if experts.normalised else 0)
    )


def expert_workspace(
    a: Architecture, setup: LayerSetup, whole_ranks: int
) -> tuple[tuple[int, int, int, int], ...]:
    """Return points of the backward pass: bytes per token freed and added, existing gradients, and
    bytes whatever the tokens.

    Where the weighted sum of the experts is undone; where the activation function is, after the
    last matmul; where the first matmuls are, whose gradient is the largest tensor of the layer.
    `whole_ranks` GPUs share what is as wide as the model, as they do in `expert_saved_tensors`.
    """
    experts = a.experts
    assert experts is not None
    t, f, e, h = experts.per_token, experts.ffn, setup.stream, a.hidden // whole_ranks
    w = setup.in_experts
    wide = 4 if a.model_type == "mixtral" or (w < e and _has_wide_shares(a)) else w
    last = experts.local_count * experts.local_ffn * a.hidden
    p = setup.padding * t
    product = int(setup.reads_experts("experts_down"))
    inner = _inner(setup) - 1 + product
    up, down = folded_bytes(a, setup)  # a gradient is as large, and there for its matmul alone
    points = [
        (0, 3 * wide * t * h + e * h, 0, 0),
        (round(w * p * (product * f + h)) + 12 * t, round(3 * w * p * f) + e * h, last, -down),
        (round(w * p * (inner * f + h)), round(w * p * (2 * f + h)) + e * h, 3 * last, up - down),
    ]
    if down:
        points.append((round(w * p * h) + 12 * t, round(w * p * (f + h)) + e * h, 0, down))
    if w < e:  # a product's weights are cast again, once their gradient is as wide as they are
        points[2] = (*points[2][:3], 2 * w * last)
        points.append((0, round(w * p * (h + f)) + e * h, last, w * last))
    return tuple(points)


def _has_wide_shares(a: Architecture) -> bool:
    """Return whether experts are weighted in fp32 under autocast.

    Their scores are then cast to the width of the stream, not left in that of the router's matmul.
    """
    assert a.experts is not None
    own = ("mixtral", "deepseek_v2", "gemma4_text", "minimax_m2")
    return a.experts.router in ("top", "ernie") or a.model_type in own


def _inner(setup: LayerSetup) -> int:
    """Return saved tensors as wide as the experts: the activation's is recomputed when fused."""
    return 4 if setup.kernels == "eager" else 3
