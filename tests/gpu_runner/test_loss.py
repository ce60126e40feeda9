import pytest
import torch

import tiny_llama
from gpu_runner.encode import Encoder, Example
from gpu_runner.feed import collate
from gpu_runner.loss import loss_sum


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    return [encoder.encode(row) for row in tiny_llama.sums(8)]


def by_hand(model: torch.nn.Module, example: Example) -> float:
    """−Σ log p of the trained tokens of one row, from the full matrix of logits."""
    ids = torch.tensor([example.ids])
    log_p = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)  # (T, V)
    return -sum(float(log_p.detach()[t - 1, example.ids[t]]) for t in example.trained_positions)


def test_the_sum_is_that_of_each_row_alone_whatever_the_padding(examples: list[Example]) -> None:
    model = tiny_llama.model()
    total, count = loss_sum(model, collate(examples, 0))
    assert count == sum(example.trainable_tokens for example in examples)
    assert float(total.detach()) == pytest.approx(
        sum(by_hand(model, e) for e in examples), rel=1e-6
    )


def test_what_fills_the_padding_does_not_matter(examples: list[Example]) -> None:
    model = tiny_llama.model()
    losses = [float(loss_sum(model, collate(examples, pad))[0].detach()) for pad in (0, 99)]
    assert losses[0] == losses[1]


def test_gradients_agree_with_the_full_matrix_of_logits(examples: list[Example]) -> None:
    model = tiny_llama.model()
    batch = collate(examples, 0)
    loss_sum(model, batch)[0].backward()
    ours = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    logits = model(input_ids=batch.input_ids).logits  # (B, T, V)
    shifted, labels = logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()
    torch.nn.functional.cross_entropy(shifted, labels, reduction="sum").backward()
    for one, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-5)
