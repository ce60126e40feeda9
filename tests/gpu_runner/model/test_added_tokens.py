"""Tokens that a run adds: what the tokenizer makes of them, and which rows they get."""

from typing import Any

import pytest
import torch

import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.errors import UsageError
from gpu_runner.model.added_tokens import Vocabulary, add_tokens, grow_embeddings

NEW = ("<tool>", "<think>")


def test_they_are_tokens_of_their_own_and_nothing_else_changes() -> None:
    plain, grown = tiny_llama.tokenizer(), tiny_llama.tokenizer()
    found = add_tokens(grown, NEW, 264)
    assert found.ids == (257, 258)
    assert grown("a<tool>b <think>").input_ids == [
        *plain("a").input_ids, 257, *plain("b ").input_ids, 258,
    ]  # fmt: skip
    assert grown("the toolbox thinks <too").input_ids == plain("the toolbox thinks <too").input_ids
    assert grown.decode([257], skip_special_tokens=True) == ""


@pytest.mark.parametrize(
    ("rows", "now", "said"),
    [
        (264, 264, "the embedding has 264 rows, enough for them"),
        (257, 259, "grows from 257 to 259 rows"),
        (256, 320, "grows from 256 to 320 rows, a multiple of 64 as before"),
        (248, 264, "grows from 248 to 264 rows, a multiple of 8 as before"),
    ],
)
def test_the_embedding_keeps_its_multiple(rows: int, now: int, said: str) -> None:
    found = add_tokens(tiny_llama.tokenizer(), NEW, rows)
    assert found.rows == now
    assert said in str(found)
    assert "2 tokens added: <tool> (257), <think> (258)" in str(found)


@pytest.mark.parametrize("token", ["</s>", "a"])
def test_one_that_is_there_is_refused_with_its_number(token: str) -> None:
    tokenizer = tiny_llama.tokenizer()
    number = tokenizer.get_vocab()[token]
    with pytest.raises(UsageError, match=rf"is a token of this tokenizer already, number {number}"):
        add_tokens(tokenizer, ["<new>", token], 264)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_rows_begin_as_the_mean_of_those_with_a_token(tied: bool, dtype: torch.dtype) -> None:
    model: Any = tiny_llama.model(vocab_size=257, tie_word_embeddings=tied).to(dtype)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    found = add_tokens(tiny_llama.tokenizer(), NEW, 257)
    grow_embeddings(model, found, untrained=True)
    ends = ["model.embed_tokens.weight"] + ["lm_head.weight"] * (not tied)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.dtype == dtype
        if name not in ends:
            assert torch.equal(parameter, before[name])
            continue
        assert parameter.shape == (259, 32)
        assert torch.equal(parameter[:257], before[name])
        mean = before[name].float().mean(0).to(dtype)
        assert torch.equal(parameter[257], mean)
        assert torch.equal(parameter[258], mean)
    same = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert same is tied
    assert model.config.vocab_size == 259


def test_a_new_token_is_no_likelier_than_the_others_are_on_average() -> None:
    model: Any = tiny_llama.model(vocab_size=257, tie_word_embeddings=False)
    model.lm_head.weight.data.mul_(200)
    grow_embeddings(model, add_tokens(tiny_llama.tokenizer(), NEW, 257), untrained=True)
    p = model(torch.arange(1, 30)[None]).logits.softmax(-1)[0]  # (T, V)
    assert (p[:, 257:] <= p[:, :257].mean(1, keepdim=True) * (1 + 1e-5)).all()


def test_rows_that_were_never_used_begin_anew_and_others_stay() -> None:
    model: Any = tiny_llama.model()  # 264 rows, 257 tokens
    before = model.get_input_embeddings().weight.detach().clone()
    grow_embeddings(model, add_tokens(tiny_llama.tokenizer(), NEW, 264), untrained=True)
    after = model.get_input_embeddings().weight.detach()
    same = [row for row in range(264) if torch.equal(before[row], after[row])]
    assert same == [row for row in range(264) if row not in (257, 258)]


def test_a_model_that_was_trained_with_them_is_left_as_it_is() -> None:
    model: Any = tiny_llama.model(vocab_size=259)
    before = model.get_input_embeddings().weight.detach().clone()
    grow_embeddings(model, Vocabulary(NEW, (257, 258), 257, 257, 259), untrained=False)
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_one_that_no_row_has_is_reported() -> None:
    tokenizer = tiny_llama.tokenizer()
    found = add_tokens(tokenizer, NEW, 264)
    rows = tuple(Encoder(tokenizer, 40).encode({"text": f"use the <tool> {n}"}) for n in range(3))
    assert found.find_unused(rows) == [
        "<think>: in no training example, so that nothing is learned of it."
    ]
    assert found.find_unused(list(rows)) == []  # of rows on disk
