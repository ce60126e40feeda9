"""Packed documents against the same documents alone, computed by transformers' eager attention."""

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import tiny_families as families
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, pack
from gpu_runner.model import attention

DRAW = random.Random(0)
DOCUMENTS = [
    Example(
        tuple(DRAW.randrange(1, 264) for _ in range(length)),
        tuple(place >= length // 2 for place in range(length)),
    )
    for length in (5, 17, 9, 30, 2)
]


def logits(model: Any, batch: Batch) -> torch.Tensor:
    """(N, V) of a packed batch."""
    assert batch.bounds is not None
    arguments = attention.bounds_arguments(batch.bounds, batch.longest)
    found: torch.Tensor = model(
        input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, **arguments
    ).logits[0]
    return found


def summed(model: Any, outputs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Loss of a document whose gradient reaches everything."""
    del model
    return F.cross_entropy(outputs[:-1], ids[1:], reduction="sum")


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("family", families.EXTRAS)
def test_a_packed_document_is_as_it_is_alone(family: str) -> None:
    packed, alone = families.model(family), families.model(family, "eager")
    batch = pack(DOCUMENTS, 0)
    together = logits(packed, batch).split([len(d.ids) for d in DOCUMENTS])
    losses = []
    for document, outputs in zip(DOCUMENTS, together, strict=True):
        ids = torch.tensor(document.ids)
        expected = alone(input_ids=ids[None], use_cache=False).logits[0]
        torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)
        losses.append((summed(packed, outputs, ids), summed(alone, expected, ids)))
    torch.stack([ours for ours, _ in losses]).mean().backward()
    torch.stack([theirs for _, theirs in losses]).mean().backward()
    ours, theirs = gradients(packed), gradients(alone)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-5, atol=1e-5, msg=name)


def test_nothing_reaches_another_document() -> None:
    model = families.model("llama")
    before = logits(model, pack(DOCUMENTS, 0))
    other = Example(tuple(reversed(DOCUMENTS[1].ids)), DOCUMENTS[1].trained)
    after = logits(model, pack([DOCUMENTS[0], other, *DOCUMENTS[2:]], 0))
    changed = (before != after).any(dim=1)
    assert changed[5:22].any()
    assert not changed[:5].any()
    assert not changed[22:].any()


def test_what_fills_a_fixed_shape_reaches_nothing() -> None:
    model = families.model("qwen3")
    batch = pack(DOCUMENTS, 0, length=100)
    assert batch.input_ids.shape == (1, 100)
    torch.testing.assert_close(
        logits(model, batch)[:63], logits(model, pack(DOCUMENTS, 0)), rtol=1e-5, atol=1e-5
    )


def test_dropout_of_attention_falls_within_documents() -> None:
    model = families.model("gpt2", attn_pdrop=0.5)
    torch.manual_seed(1)
    dropped = logits(model, pack(DOCUMENTS, 0))
    assert not torch.allclose(dropped, logits(model.eval(), pack(DOCUMENTS, 0)), atol=1e-3)


def test_sixteen_bits_are_isolated_too() -> None:
    model = families.model("llama").bfloat16()
    outputs = logits(model, pack(DOCUMENTS, 0)).split([len(d.ids) for d in DOCUMENTS])
    alone = model(input_ids=torch.tensor([DOCUMENTS[3].ids]), use_cache=False).logits[0]
    torch.testing.assert_close(outputs[3], alone, rtol=0, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
def test_generation_writes_what_eager_attention_writes(family: str) -> None:
    ids = torch.tensor([DOCUMENTS[3].ids])
    written = [
        families.model(family, name).eval().generate(ids, max_new_tokens=8, do_sample=False)
        for name in (attention.NAME, "eager")
    ]
    assert written[0].tolist() == written[1].tolist()


def test_padding_on_the_left_is_refused() -> None:
    mask = torch.tensor([[0, 1, 1]])
    with pytest.raises(ValueError, match="takes no padding mask: pad on the right, or pack"):
        families.model("llama")(input_ids=torch.tensor([[0, 5, 6]]), attention_mask=mask)
