"""Tokens that a run adds: to the tokenizer, to the embedding, and to an untied head.

New rows are initialized to the mean of the existing ones (Hewitt, "Initializing New Word Embeddings
for Pretrained Language Models", 2021): a new token is then as likely as the others are on average,
where rows near 0 could take all the probability from tokens with negative logits. All start equal;
training tells them apart.

Many embeddings have more rows than their tokenizer has tokens: those are used first. A grown
embedding stays a multiple of 64 or of 8 if it was one, for fast kernels; the surplus rows are
initialized to the mean, too, and no text leads to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.examples import Example
from gpu_runner.errors import UsageError
from gpu_runner.text import counted
from gpu_runner.world import freeze_encoders

MULTIPLES: Final = (64, 8, 1)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that a run adds: texts, ids, and the sizes before and after.

    known    tokens of the tokenizer before
    before   rows of the embedding before
    rows     rows of the embedding after, padding included
    """

    added: tuple[str, ...]
    ids: tuple[int, ...]
    known: int
    before: int
    rows: int

    @property
    def new_rows(self) -> list[int]:
        """The indices of rows that are initialized to the mean."""
        return sorted({*self.ids, *range(self.before, self.rows)})

    def find_unused(self, examples: Sequence[Example]) -> list[str]:
        """Return a remark about added tokens in no example; examples on disk are not searched."""
        if not isinstance(examples, tuple):
            return []
        seen = {id_ for example in examples for id_ in example.ids if id_ >= min(self.ids)}
        absent = [text for text, id_ in zip(self.added, self.ids, strict=True) if id_ not in seen]
        if not absent:
            return []
        listed = ", ".join(absent[:8])
        return [f"{listed}: in no training example, so that nothing is learned of it."]

    def __str__(self) -> str:
        pairs = list(zip(self.added, self.ids, strict=True))
        listed = ", ".join(f"{text} ({id_})" for text, id_ in pairs[:8])
        more = f" and {len(self.added) - 8} more" if len(self.added) > 8 else ""
        tokens = f"{counted(len(self.added), 'token')} added: {listed}{more}"
        if self.rows == self.before:
            return f"{tokens}; the embedding has {self.before:,} rows, enough for them"
        multiple = _multiple(self.before)
        kept = f", a multiple of {multiple} as before" if multiple > 1 else ""
        return f"{tokens}; the embedding grows from {self.before:,} to {self.rows:,} rows{kept}"


def add_tokens(tokenizer: Any, tokens: Iterable[str], rows: int) -> Vocabulary:
    """Add special `tokens` to a tokenizer whose model has an embedding of `rows`.

    Raises `UsageError` for a token that it has.
    """
    from tokenizers import AddedToken

    tokens, known, vocabulary = tuple(tokens), len(tokenizer), tokenizer.get_vocab()
    for token in tokens:
        if token in vocabulary:
            raise UsageError(
                f"--add-tokens: {token!r} is a token of this tokenizer already, number"
                f" {vocabulary[token]:,}: leave it out; it is trained like every other."
            )
    new = [AddedToken(token, special=True, normalized=False) for token in tokens]
    tokenizer.add_tokens(new, special_tokens=True)
    ids = tuple(int(tokenizer.convert_tokens_to_ids(token)) for token in tokens)
    needed = max(len(tokenizer), max(ids) + 1)
    if needed <= rows:
        return Vocabulary(tokens, ids, known, rows, rows)
    multiple = _multiple(rows)
    return Vocabulary(tokens, ids, known, rows, -(-needed // multiple) * multiple)


def _multiple(rows: int) -> int:
    return next(multiple for multiple in MULTIPLES if rows % multiple == 0)


@torch.no_grad()
def grow_embeddings(model: Any, vocabulary: Vocabulary, *, untrained: bool) -> None:
    """Grow the embedding and head of a model; `untrained`: initialize the new rows."""
    if model.get_input_embeddings().weight.shape[0] != vocabulary.rows:
        model.resize_token_embeddings(vocabulary.rows, mean_resizing=False)
        freeze_encoders(model)
    if untrained:
        for tensor in _token_tensors(model):
            _initialize(tensor, vocabulary)


def _token_tensors(model: Any) -> list[Tensor]:
    """Return the embedding, and the tensors of an untied head."""
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    found = [tensor for end in ends if end is not None for tensor in end.parameters()]
    return list({id(tensor): tensor for tensor in found}.values())


def _initialize(tensor: Tensor, vocabulary: Vocabulary) -> None:
    """Set new rows to the mean (in fp32) of the rows that had a token."""
    mean = tensor[: min(vocabulary.known, vocabulary.before)].mean(0, dtype=torch.float32)
    tensor[vocabulary.new_rows] = mean.to(tensor.dtype)
