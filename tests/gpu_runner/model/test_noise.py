"""Noise on embeddings: as much as NEFTune says, for the row and nothing beside it, in training."""

from typing import Any

import pytest
import torch

import tiny_families
import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, Feed, collate
from gpu_runner.model.loss import loss_sum, training_loss

ALPHA = 5.0


@pytest.fixture(scope="module")
def examples() -> tuple[Example, ...]:
    encoder = Encoder(tiny_llama.tokenizer(), 50)
    return tuple(encoder.encode(row) for row in tiny_llama.sums(12))


def embeddings(model: Any, batch: Batch, alpha: float) -> torch.Tensor:
    """What the blocks are given (B, T, d)."""
    seen = []
    first = model.model.layers[0]
    hook = first.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    training_loss("linear", alpha)(model, batch)
    hook.remove()
    return seen[0]


def noise_of_rows(model: Any, feed: Feed, number: int) -> dict[tuple[int, ...], torch.Tensor]:
    """Ids of a row → what was added to its embeddings (L, d), of a whole step."""
    found = {}
    for batch in feed.step(number):
        added = embeddings(model, batch, ALPHA) - embeddings(model, batch, 0.0)
        spans = (
            [(0, *map(int, pair)) for pair in zip(batch.bounds, batch.bounds[1:], strict=False)]
            if batch.bounds is not None
            else [(row, 0, length) for row, length in enumerate(batch.lengths)]
        )
        for row, start, end in spans:
            ids = tuple(batch.input_ids[row, start:end].tolist())
            found[ids] = added[row, start:end]
        if batch.bounds is None:
            for row, length in enumerate(batch.lengths):
                assert not added[row, length:].any()
    return found


def feeds(examples: tuple[Example, ...]) -> dict[str, list[Feed]]:
    """The same rows, divided in every way."""
    one = Feed(examples, 0, 8, 1, 0, packed=True)
    return {
        "padded": [Feed(examples, 0, 8, 1, 0)],
        "in parts": [Feed(examples, 0, 2, 4, 0, packed=True)],
        "two processes": [
            Feed(examples, 0, 4, 2, 0, rank=rank, ranks=2, packed=True) for rank in (0, 1)
        ],
        "filled up": [Feed(examples, 0, 8, 1, 0, packed=True, fixed=True)],
        "packed": [one],
    }


@pytest.mark.parametrize("way", ["padded", "in parts", "two processes", "filled up"])
def test_the_noise_of_a_row_does_not_depend_on_what_is_computed_beside_it(
    examples: tuple[Example, ...], way: str
) -> None:
    model = tiny_families.model("llama")
    (whole,) = feeds(examples)["packed"]
    expected = noise_of_rows(model, whole, 3)
    found: dict[tuple[int, ...], torch.Tensor] = {}
    for feed in feeds(examples)[way]:
        found |= noise_of_rows(model, feed, 3)
    for ids, noise in expected.items():
        torch.testing.assert_close(found[ids], noise, rtol=0, atol=1e-6)


def test_it_is_uniform_and_as_large_as_the_paper_says(examples: tuple[Example, ...]) -> None:
    model = tiny_families.model("llama")
    found = noise_of_rows(model, Feed(examples, 0, 8, 1, 0, packed=True), 1)
    for noise in found.values():
        most = ALPHA / noise.numel() ** 0.5
        assert noise.abs().max() <= most * (1 + 1e-5)
        assert float(noise.norm()) == pytest.approx(ALPHA / 3**0.5, rel=0.2)
        assert abs(float(noise.mean())) < most / 3


def test_every_step_and_every_place_in_it_draws_anew(examples: tuple[Example, ...]) -> None:
    same = Example(examples[0].ids, examples[0].trained)
    feed = Feed((same, same), 0, 2, 1, 0)
    model = tiny_families.model("llama")
    (first,), (second,) = feed.step(1), feed.step(2)
    one, two = (embeddings(model, batch, ALPHA) for batch in (first, second))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, two)
    (again,) = feed.step(1)
    assert torch.equal(one, embeddings(model, again, ALPHA))
    (other,) = Feed((same, same), 1, 2, 1, 0).step(1)
    assert not torch.equal(one, embeddings(model, other, ALPHA))


def test_the_gradient_is_that_at_the_noisy_embeddings(examples: tuple[Example, ...]) -> None:
    """Beside a model whose noise is a constant that autograd adds."""
    model = tiny_families.model("llama")
    (batch,) = Feed(examples, 0, 4, 1, 0, packed=True).step(1)
    noise = embeddings(model, batch, ALPHA) - embeddings(model, batch, 0.0)
    training_loss("linear", ALPHA)(model, batch)[0].backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    hook = model.get_input_embeddings().register_forward_hook(lambda _, __, out: out + noise)
    loss_sum(model, batch)[0].backward()
    hook.remove()
    for one, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-4)


def test_without_alpha_and_after_a_failed_step_there_is_none(
    examples: tuple[Example, ...],
) -> None:
    model = tiny_families.model("llama")
    plain = loss_sum(model, collate(examples[:4], 0))[0]
    (batch,) = Feed(examples[:4], 0, 4, 1, 0).step(1)
    with pytest.raises(AttributeError):
        training_loss("linear", ALPHA)(model, None)  # type: ignore[arg-type]
    again = training_loss("linear")(model, batch)[0]
    assert float(again.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)


def test_narrow_embeddings_stay_narrow(examples: tuple[Example, ...]) -> None:
    model = tiny_families.model("llama").bfloat16()
    (batch,) = Feed(examples, 0, 4, 1, 0, packed=True).step(1)
    assert embeddings(model, batch, ALPHA).dtype == torch.bfloat16
