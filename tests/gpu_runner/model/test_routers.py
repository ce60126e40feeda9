"""Routers of every family of transformers: what is heard, beside what follows from logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import sparse_families
from conftest import matrix
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate
from gpu_runner.errors import UsageError
from gpu_runner.model import blocks
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.routers import Routers, RouterSite, find_routers, routers_of
from gpu_runner.world import World
from routers_after_batch import routers_after

pytestmark = pytest.mark.slow

FAMILIES = tuple(sparse_families.FAMILIES)
KINDS = (  # one of each way from scores to experts
    *("mixtral", "gpt_oss", "deepseek_v2", "phimoe", "dbrx", "gemma4_text"),
    *("llama4_text", "deepseek_v3", "deepseek_v4", "afmoe", "zaya"),
)
_NUMBERS = torch.Generator().manual_seed(1)
EXAMPLES = [
    Example(
        tuple(torch.randint(1, 260, (length,), generator=_NUMBERS).tolist()),
        (False,) + (True,) * (length - 1),
    )
    for length in (14, 9, 12, 6)
]
BATCH = collate(EXAMPLES, 0)


@contextmanager
def recorded(sites: list[RouterSite]) -> Iterator[list[tuple[Any, tuple[Any, ...]]]]:
    """(what a router returned, what its experts were given), router by router."""
    found: list[tuple[Any, tuple[Any, ...]]] = []
    hooks = []
    for site in sites:
        hooks.append(site.router.register_forward_hook(lambda *seen: found.append((seen[2], ()))))
        if site.experts is not None:
            hooks.append(
                site.experts.register_forward_pre_hook(
                    lambda _, given: found.append((found.pop()[0], given))
                )
            )
    yield found
    for hook in hooks:
        hook.remove()


def by_hand(family: str, output: Any, given: tuple[Any, ...], router: Any) -> Tensor:
    """E · Σ f · P of one router, from its logits and what the code of its family says of them."""
    outputs = output if isinstance(output, tuple) else (output,)
    logits = outputs[{"llama4_text": 1, "jetmoe": 4}.get(family, 0)].double()
    scores = {
        "softmax": logits.softmax(-1),
        "sigmoid": logits.sigmoid(),
        "sqrt": F.softplus(logits).sqrt(),
    }[sparse_families.FAMILIES[family][0]]
    if family == "gemma4_text":
        scores = logits  # it returns probabilities
    p = scores / scores.sum(-1, keepdim=True)
    if family == "zaya":  # the choice to skip is hidden from the experts
        chosen = (p + router.balancing_biases).topk(1).indices
    elif family in ("jetmoe", "llama4_text"):
        chosen = logits.topk(router.top_k).indices
    else:
        chosen = given[1]
    real = BATCH.non_padding()
    assert real is not None
    rows = real.flatten()
    experts = p.shape[1]
    f = F.one_hot(chosen[rows], experts).double().mean((0, 1))
    return experts * (f * p[rows].mean(0)).sum()


def weights_of(sites: list[RouterSite]) -> list[torch.nn.Parameter]:
    """The matrices of routers that choose by score."""
    return [
        weight
        for site in sites
        if not hasattr(site.router, "tid2eid")
        for weight in site.router.parameters()
        if weight.dim() == 2 and len(weight) > 1
    ]


@pytest.mark.parametrize("family", matrix(FAMILIES, *KINDS))
def test_the_loss_of_a_family_is_the_formula_and_makes_its_routers_more_even(family: str) -> None:
    model = sparse_families.model(family)
    sites = find_routers(model)
    torch.manual_seed(0)
    with recorded(sites) as seen:
        routers, added = routers_after(model, BATCH, 0.5)
    each = [
        by_hand(family, *said, site.router)
        for said, site in zip(seen, sites, strict=True)
        if not hasattr(site.router, "tid2eid")
    ]
    expected = float(torch.stack(each).mean().detach())
    assert float(added.detach()) == pytest.approx(0.5 * expected, rel=1e-5)
    assert routers.balance(World()) == pytest.approx(expected, rel=1e-5)
    load = routers.load(World())
    assert load is not None
    assert load.shape[0] == len(each)
    more_even(model, added, expected)


def more_even(model: Any, added: Tensor, before: float) -> None:
    """Steps on the loss alone reach every router, and the balance falls.

    Only their own matrices learn, so that what they read stays as it is.
    """
    weights = weights_of(find_routers(model))
    optimizer = torch.optim.Adam(weights, lr=0.05)
    for _ in range(3):
        added.backward()
        assert not [
            weight for weight in weights if not (weight.grad is not None and weight.grad.any())
        ]
        optimizer.step()
        optimizer.zero_grad()
        torch.manual_seed(0)
        routers, added = routers_after(model, BATCH, 0.5)
    assert (routers.balance(World()) or 9) < before


@pytest.mark.parametrize("family", matrix(FAMILIES, *KINDS))
def test_to_be_heard_changes_nothing(family: str) -> None:
    model = sparse_families.model(family)
    losses, grads = [], []
    for routers in (Routers(), routers_of(model)):
        torch.manual_seed(0)
        with routers.watching(BATCH):
            total = routers.add_loss(loss_sum(model, BATCH)[0])
            total.backward()
        losses.append(float(total.detach()))
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
    assert losses[0] == losses[1]
    assert all(map(torch.equal, *grads))


@pytest.mark.parametrize("kind", ["selective", "full"])
@pytest.mark.parametrize("family", KINDS)
def test_what_is_computed_again_is_counted_once(family: str, kind: Any) -> None:
    found, grads = [], []
    for checkpointing in ("none", kind):
        model = sparse_families.model(family)
        blocks.prepare(model, checkpointing, compiled=False)
        routers = routers_of(model, 0.5)
        routers.begin(lambda: sum(BATCH.lengths))
        torch.manual_seed(0)
        with routers.watching(BATCH):
            total, _ = loss_sum(model, BATCH)
            routers.add_loss(0 * total).backward()
        found.append(routers.balance(World()))
        assert not torch.overrides._get_current_function_mode_stack()
        grads.append([weight.grad for weight in weights_of(find_routers(model))])
    assert found[0] == found[1]
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-8)


def test_a_layer_whose_experts_follow_from_the_token_is_left_out() -> None:
    model = sparse_families.model("deepseek_v4")
    load = routers_after(model, BATCH, 0.5)[0].load(World())
    assert load is not None
    assert len(find_routers(model)) == 2
    assert len(load) == 1


def test_a_bias_that_steers_the_choice_is_in_the_choice_and_stays_as_it_is() -> None:
    """DeepSeek-V3's; all to expert 3 and its neighbour by bias, while scores say otherwise."""
    model = sparse_families.model("deepseek_v3")
    for site in find_routers(model):
        site.router.e_score_correction_bias[2:4] = 10.0
    biases = [site.router.e_score_correction_bias.clone() for site in find_routers(model)]
    routers, added = routers_after(model, BATCH, 0.5)
    load = routers.load(World())
    assert load is not None
    assert load[:, 2:4].tolist() == [[0.5, 0.5]] * 2
    added.backward()
    after = [site.router.e_score_correction_bias for site in find_routers(model)]
    assert all(map(torch.equal, biases, after))


def test_experts_that_no_router_scores_one_by_one_are_refused() -> None:
    model = sparse_families.model("doge")
    with pytest.raises(UsageError, match=r"router_balance 0\.5: .* only be 0 here: leave it out"):
        routers_of(model, 0.5)


def test_a_router_that_is_not_understood_is_refused_when_it_is_heard() -> None:
    model = sparse_families.model("mixtral")
    for layer in model.model.layers:
        gate = layer.mlp.gate
        layer.mlp.gate.forward = lambda hidden, gate=gate: (
            hidden.reshape(-1, 32) @ gate.weight.T,
            hidden.new_ones(hidden.reshape(-1, 32).shape[0], 2) / 2,
            hidden.new_zeros(hidden.reshape(-1, 32).shape[0], 2).long(),
        )
    with pytest.raises(UsageError, match=r"chooses in a way that is not understood"):
        routers_after(model, BATCH, 0.5)
    routers, _ = routers_after(model, BATCH, 0.0)
    assert routers.load(World()) is None


def test_every_sparse_decoder_of_transformers_is_tried_here() -> None:
    """Those whose code has experts beside a router, by what it says, not by their names."""
    place = Path(transformers.__file__).parent / "models"
    classes = dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    sparse = set()
    for file in place.glob("*/modeling_*.py"):
        code = file.read_text("utf-8")
        if "self.experts = " in code or "ParallelExperts(" in code:
            there = {name for name, made in classes.items() if f"class {made}(" in code}
            sparse |= there - {name.removesuffix("_text") for name in there if "_text" in name}
    assert sparse - set(FAMILIES) - set(sparse_families.REFUSED) == set()
