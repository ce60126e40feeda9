"""What reaches what in packed documents, and what our attention refuses; `test_families` compares
its values with those of transformers' eager attention."""

import inspect
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.masking_utils import chunked_causal_mask_function, create_causal_mask

import tiny_families as families
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, pack
from gpu_runner.errors import ModelLoadError
from gpu_runner.model import attention
from unfrozen import runner

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
@pytest.mark.parametrize(
    "family", ["llama", "mistral", "gemma2", "gpt2", "gpt_oss", "llama4_text", "qwen2_moe"]
)
def test_generation_writes_what_eager_attention_writes(family: str) -> None:
    ids = torch.tensor([[id_ % 100 for id_ in DOCUMENTS[3].ids]])
    written = [
        families.decoder(family, attn_implementation=name)
        .eval()
        .generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
        for name in (attention.register(), "eager")
    ]
    assert written[0].tolist() == written[1].tolist()


def given(**more: Any) -> tuple[torch.Tensor, None]:
    heads = (torch.randn(1, 4, 6, 8), *torch.randn(2, 1, 2, 6, 8))
    return attention.attend(torch.nn.Linear(1, 1), *heads, **more)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"position_bias": torch.zeros(1)}, "position_bias"),
        ({"indices": torch.zeros(1), "block_table": 1}, "block_table, indices"),
        ({"output_attentions": True}, "output_attentions"),
        ({"is_causal": False}, "tokens that come later"),
        ({"attention_mask": torch.zeros(6, 6)}, "a mask of its own"),
        ({"attention_mask": attention.Mask(packed=True)}, "several documents without their bounds"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelLoadError, match=f"gives its attention {named}, which the runner does"):
        given(**asked)


def test_what_changes_no_attention_is_taken() -> None:
    given(position_ids=torch.zeros(1), use_cache=False, position_bias=None, output_attentions=False)


@pytest.mark.slow
def test_every_keyword_that_a_family_gives_its_attention_is_taken() -> None:
    """As transformers' source calls it: what `attend` has no argument for would be refused."""
    known = set(inspect.signature(attention.attend).parameters) | attention._OUTSIDE
    for kind in sorted(families.DECODERS.keys() - set(runner.OWN_ATTENTION)):
        folder = Path(inspect.getfile(transformers.CONFIG_MAPPING[kind])).parent
        for file in folder.glob("modeling_*.py"):
            source = file.read_text("utf-8")
            for call in re.findall(r"attention_interface\((\n.*?)\n +\)", source, re.S):
                keywords = set(re.findall(r"^ +(\w+)=", call, re.M))
                assert keywords <= known, f"{file.name}: {keywords - known}"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"or_mask_function": lambda *_: True}, "a mask by or_masks"),
        ({"block_sequence_ids": torch.zeros(1, 6, dtype=torch.long)}, "a mask by or_masks"),
    ],
)
def test_a_mask_of_another_kind_is_refused(changed: dict[str, Any], named: str) -> None:
    config = families.model("llama").config
    with pytest.raises(ModelLoadError, match=named):
        create_causal_mask(config, torch.zeros(1, 6, 32), None, None, **changed)


def test_chunks_are_told_by_every_transformers() -> None:
    """5.0 gives positions in place of lengths."""
    chunks = chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.long))
    given: dict[str, Any] = {"mask_function": chunks, "local_size": 4}
    assert attention._mask(**given, cache_position=torch.arange(6)) == attention.Mask(chunk=4)
    assert attention._mask(**given, q_length=6, kv_length=6) == attention.Mask(chunk=4)
    assert attention._mask(**given, q_length=4, kv_length=4) is None
    after = attention._mask(**given, q_length=2, kv_length=6, q_offset=4)
    assert isinstance(after, torch.Tensor)
    assert after.int().tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]]


def test_an_encoder_is_refused() -> None:
    config = transformers.BertConfig(
        vocab_size=264, hidden_size=32, num_hidden_layers=1, num_attention_heads=4
    )
    model = transformers.BertLMHeadModel._from_config(
        config, attn_implementation=attention.register()
    )
    with pytest.raises(ModelLoadError, match="a mask by bidirectional_mask_function"):
        model(input_ids=torch.tensor([[5, 6]]))


def test_padding_on_the_left_is_refused() -> None:
    mask = torch.tensor([[0, 1, 1]])
    with pytest.raises(ModelLoadError, match="takes no padding mask: pad on the right, or pack"):
        families.model("llama")(input_ids=torch.tensor([[0, 5, 6]]), attention_mask=mask)
