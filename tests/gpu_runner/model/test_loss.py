import random
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import masking_utils

import tiny_families
import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate, pack
from gpu_runner.errors import ModelLoadError
from gpu_runner.model import attention
from gpu_runner.model.loss import Kind, _linear, loss_sum

DRAW = random.Random(1)
LONG = [
    Example(
        tuple(DRAW.randrange(1, 264) for _ in range(length)),
        tuple(place > length // 3 for place in range(length)),
    )
    for length in (150, 220, 60, 31)
]


class _Products(TorchDispatchMode):
    """Watches matrix products whose result has a row of the vocabulary, 264, for each position."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows_of_logits: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mm.default and result.shape[1] == 264:
            self.rows_of_logits.append(result.shape[0])
        return result


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


def test_a_frozen_head_gets_no_gradient_and_the_others_keep_theirs(examples: list[Example]) -> None:
    whole, frozen = tiny_llama.model(), tiny_llama.model()
    frozen.get_output_embeddings().weight.requires_grad_(False)
    for model in (whole, frozen):
        loss_sum(model, collate(examples, 0))[0].backward()
    gradients = dict(whole.named_parameters())
    for name, parameter in frozen.named_parameters():
        assert (parameter.grad is None) == (not parameter.requires_grad)
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name].grad)


@pytest.mark.parametrize("trained", [False, True])
def test_gradients_hold_nothing_of_what_was_in_memory_before(trained: bool) -> None:
    model = tiny_llama.model()
    ids = tuple(range(9, 29))
    torch.use_deterministic_algorithms(True)  # new memory is full of NaN
    try:
        loss_sum(model, collate([Example(ids, (trained,) * len(ids))], 0))[0].backward()
    finally:
        torch.use_deterministic_algorithms(False)
    size = sum(float(p.grad.abs().sum()) for p in model.parameters())
    assert size > 0 if trained else size == 0


KINDS: tuple[Kind, ...] = ("full", "chunked", "linear")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_of_loss_has_the_value_and_gradients_of_the_full_one(
    kind: Kind, packed: bool
) -> None:
    found = []
    both: tuple[Kind, Kind] = ("full", kind)
    for one in both:
        model = tiny_families.model("llama")
        batch = pack(LONG, 0) if packed else collate(LONG, 0)
        total, count = loss_sum(model, batch, one)
        (total / count).backward()
        found.append((float(total.detach()), [p.grad for p in model.parameters()]))
    (full, expected), (other, gradients) = found
    assert other == pytest.approx(full, rel=1e-6)
    for one_gradient, gradient in zip(expected, gradients, strict=True):
        torch.testing.assert_close(gradient, one_gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_have_the_loss_of_padded_ones(kind: Kind, examples: list[Example]) -> None:
    model = tiny_families.model("llama")
    padded, count = loss_sum(model, collate(examples, 0), kind)
    packed, same = loss_sum(model, pack(examples, 0), kind)
    assert count == same
    assert float(packed.detach()) == pytest.approx(float(padded.detach()), rel=1e-6)


def head_gradient(tokens: int, dtype: torch.dtype) -> torch.Tensor:
    """The gradient of a head's weight, of the same numbers in any dtype."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(tokens, 64), 0.3 * torch.randn(512, 64)
    low = weight.bfloat16().to(dtype).requires_grad_()
    _linear(hidden.bfloat16().to(dtype), low, torch.randint(512, (tokens,))).backward()
    assert low.grad is not None
    return low.grad.float()


@pytest.mark.parametrize("tokens", [8192, 32768])
def test_a_head_in_16_bits_as_sharded_ones_are_has_its_gradient_summed_in_fp32(tokens: int) -> None:
    exact, found = (head_gradient(tokens, one) for one in (torch.float32, torch.bfloat16))
    assert float((found - exact).norm() / exact.norm()) < 3e-3


@pytest.mark.parametrize("packed", [False, True])
def test_the_head_sees_only_positions_that_predict_a_trained_token(packed: bool) -> None:
    model = tiny_families.model("llama")
    batch = pack(LONG, 0) if packed else collate(LONG, 0)
    with _Products() as products:
        loss_sum(model, batch, "full")
    assert products.rows_of_logits == [sum(example.trainable_tokens for example in LONG)]
    assert "forward" not in vars(model.get_output_embeddings())  # the head is itself again


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_capped_logits_is_trained_on_capped_ones(kind: Kind) -> None:
    model = tiny_families.model("gemma2", final_logit_softcapping=0.05)
    total, _ = loss_sum(model, pack(LONG, 0), kind)
    logits = [
        model(input_ids=torch.tensor([example.ids])).logits[0].log_softmax(-1) for example in LONG
    ]
    by_hand = -sum(
        float(found[t - 1, example.ids[t]].detach())
        for found, example in zip(logits, LONG, strict=True)
        for t in example.trained_positions
    )
    assert float(total.detach()) == pytest.approx(by_hand, rel=1e-5)


def test_a_model_that_would_mix_documents_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="documents in one sequence otherwise than alone"):
        loss_sum(tiny_families.model("llama", "sdpa"), pack(LONG, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_in_autocast_the_loss_is_that_of_sixteen_bit_products(kind: Kind) -> None:
    model = tiny_families.model("llama")
    exact, count = loss_sum(model, pack(LONG, 0), kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = loss_sum(model, pack(LONG, 0), kind)
    (rounded / count).backward()
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_without_gradients_none_are_made() -> None:
    model = tiny_families.model("llama")
    with torch.no_grad():
        total, _ = loss_sum(model, pack(LONG, 0), "linear")
    assert not total.requires_grad


@pytest.mark.parametrize("packed", [True, False])
def test_nobody_looks_through_positions_for_rows_that_are_packed(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers would, unless tensors are fake: on a GPU a wait that no fake tensor shows."""

    def look(_: torch.Tensor) -> None:
        raise AssertionError("a look at positions")

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", look)
    model = tiny_families.model("llama", attention.NAME if packed else "sdpa")
    make = pack if packed else collate
    total, _ = loss_sum(model, make(LONG[:3], 0))
    assert total > 0
    assert masking_utils.find_packed_sequence_indices is look, "it is as it was"
