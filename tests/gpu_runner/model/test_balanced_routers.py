"""Where routers send tokens, and what spreads them: beside what is worked out from their logits."""

from typing import Any

import pytest
import torch

import tiny_families
import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, Feed, collate
from gpu_runner.errors import UsageError
from gpu_runner.model import blocks
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.routers import Routers, RouterSite, routers_of
from gpu_runner.world import World
from routers_after_batch import routers_after

FAMILIES = ("mixtral", "qwen2_moe", "qwen3_moe")
STRENGTH = 0.5


@pytest.fixture(scope="module")
def examples() -> tuple[Example, ...]:
    encoder = Encoder(tiny_llama.tokenizer(), 50)
    return tuple(encoder.encode(row) for row in tiny_llama.sums(12))


def logits_of(model: Any, batch: Batch) -> list[torch.Tensor]:
    """Of every router, from its input and its weight: (T, E) each."""
    seen: list[torch.Tensor] = []

    def keep(module: Any, given: Any) -> None:
        rows = given[0].detach().flatten(0, -2)
        seen.append(rows @ module.weight.detach().T)

    hooks = [layer.mlp.gate.register_forward_pre_hook(keep) for layer in model.model.layers]
    loss_sum(model, batch)
    for hook in hooks:
        hook.remove()
    return seen


def by_hand(logits: list[torch.Tensor], k: int, real: torch.Tensor | None = None) -> torch.Tensor:
    """E · Σ f · P of each layer's, as the formula is written; the mean over layers."""
    found = []
    for layer in logits:
        rows = layer if real is None else layer[real]
        p = rows.softmax(-1)
        share = torch.nn.functional.one_hot(p.topk(k).indices, p.shape[1]).double().mean((0, 1))
        found.append(p.shape[1] * (share * p.double().mean(0)).sum())
    return torch.stack(found).mean()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packed", [True, False])
def test_the_balance_is_that_of_the_formula(
    examples: tuple[Example, ...], family: str, packed: bool
) -> None:
    model = tiny_families.model(family)
    (batch,) = Feed(examples, 0, 8, 1, 0, packed=packed).step(1)
    routers, added = routers_after(model, batch, STRENGTH)
    real = None if packed else batch.non_padding()
    assert (batch.non_padding() is None) is packed
    expected = by_hand(logits_of(model, batch), 2, real)
    assert float(added.detach()) == pytest.approx(STRENGTH * float(expected), rel=1e-5)
    assert routers.balance(World()) == pytest.approx(float(expected), rel=1e-5)


def test_transformers_own_loss_is_twice_ours_where_there_is_one_layer(
    examples: tuple[Example, ...],
) -> None:
    """It does not divide by k, and pools layers: one layer and k = 2."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    model = tiny_families.model("mixtral", num_hidden_layers=1)
    batch = collate(examples[:5], 0)
    _, added = routers_after(model, batch, STRENGTH)
    real = batch.non_padding()
    assert real is not None
    mask = real.view(batch.input_ids.shape).long()
    theirs = load_balancing_loss_func(tuple(logits_of(model, batch)), 4, 2, mask)
    assert float(theirs) / 2 == pytest.approx(float(added.detach()) / STRENGTH, rel=1e-5)


def test_an_even_router_is_1_and_one_that_takes_one_expert_is_as_many_as_there_are() -> None:
    model = tiny_families.model("mixtral", num_experts_per_tok=1)
    batch = collate([Example(tuple(range(1, 9)), (False,) + (True,) * 7)], 0)
    for layer in model.model.layers:
        layer.mlp.gate.weight.data.zero_()
    assert float(routers_after(model, batch, STRENGTH)[1].detach()) == pytest.approx(STRENGTH)
    for layer in model.model.layers:  # all rows are sent where they are large along a direction
        layer.post_attention_layernorm.weight.data.zero_()
        layer.mlp.gate.register_forward_pre_hook(lambda _, given: (torch.ones_like(given[0]),))
        layer.mlp.gate.weight.data[0] = 10.0
    assert float(routers_after(model, batch, STRENGTH)[1].detach()) == pytest.approx(
        4 * STRENGTH, rel=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "selective", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_its_gradient_is_that_of_the_formula_whatever_is_computed_again(
    examples: tuple[Example, ...], family: str, kind: Any
) -> None:
    (batch,) = Feed(examples, 0, 4, 1, 0, packed=True).step(1)
    grads = []
    for checkpointing in ("none", kind):
        model = tiny_families.model(family)
        blocks.prepare(model, checkpointing, compiled=False)
        routers = routers_of(model, STRENGTH)
        routers.begin(lambda: sum(batch.lengths))
        with routers.watching(batch):
            total, _ = loss_sum(model, batch)
            routers.add_loss(0 * total).backward()
        grads.append({n: p.grad for n, p in model.named_parameters()})
    gate = "model.layers.1.mlp.gate.weight"
    assert grads[0][gate].abs().sum() > 0
    assert grads[0]["model.embed_tokens.weight"].abs().sum() > 0  # of the layers above it, too
    for name, gradient in grads[0].items():
        torch.testing.assert_close(grads[1][name], gradient, rtol=1e-4, atol=1e-7)


def test_that_of_a_step_is_reported_of_all_its_parts_together(
    examples: tuple[Example, ...],
) -> None:
    model = tiny_families.model("qwen3_moe")
    found = []
    for micro_batch, parts in ((8, 1), (2, 4)):
        feed = Feed(examples, 0, micro_batch, parts, 0, packed=True)
        routers = routers_of(model, STRENGTH)
        routers.begin(lambda feed=feed: feed.tokens(1))
        pushed = 0.0
        for batch in feed.step(1):
            with routers.watching(batch):
                loss_sum(model, batch)
                pushed += float(routers.add_loss(torch.zeros(())).detach())
        found.append((routers.balance(World()), pushed))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    assert found[0][1] == pytest.approx(STRENGTH * float(found[0][0] or 0), rel=1e-5)
    assert found[1][1] > found[0][1]  # smaller parts are less even


def test_the_load_is_the_share_of_choices_that_each_expert_got(
    examples: tuple[Example, ...],
) -> None:
    model = tiny_families.model("qwen3_moe").eval()
    batch = collate(examples[:6], 0)
    routers = routers_of(model)
    routers.begin()
    with torch.no_grad(), routers.watching(batch):
        loss_sum(model, batch)
    load = routers.load(World())
    assert load is not None
    real = batch.non_padding()
    for layer, logits in zip(load, logits_of(model, batch), strict=True):
        chosen = logits[real].topk(2).indices.flatten()
        torch.testing.assert_close(layer, chosen.bincount(minlength=8).double() / len(chosen))
    assert routers.balance(World()) is None


def test_a_model_without_experts_has_no_routers_and_cannot_be_balanced() -> None:
    routers = routers_of(tiny_llama.model())
    with routers.watching(collate([Example((1, 2), (False, True))], 0)):
        part = torch.ones(())
        assert routers.add_loss(part) is part
    assert routers.load(World()) is None
    with pytest.raises(UsageError, match=r"router_balance 0\.1: this model has no experts"):
        routers_of(tiny_llama.model(), 0.1)


def test_probabilities_in_place_of_logits_are_seen_for_what_they_are() -> None:
    """As some versions of transformers return them."""
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.zeros(1, 20), torch.zeros(1, 20), 1, lengths=(20,))

    class Gate(torch.nn.Module):
        def forward(self, scores: bool) -> Any:
            p = logits.softmax(-1)
            weights, chosen = p.topk(2)
            return p if scores else logits, weights, chosen

    found = []
    for scores in (False, True):
        gate = Gate()
        routers = Routers([RouterSite(gate, gate, None)], STRENGTH)
        routers.begin(lambda: 20)
        with routers.watching(batch):
            gate(scores)
            found.append(float(routers.add_loss(torch.zeros(()))))
    assert found[0] == pytest.approx(found[1])
    assert found[0] == pytest.approx(STRENGTH * float(by_hand([logits], 2)), rel=1e-5)
