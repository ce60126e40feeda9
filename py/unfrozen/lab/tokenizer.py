"""Byte-level BPE, read from a `tokenizer.json`: text to token ids and back.

    "47 cats"  ─split─▶  "4" "7" " cats"  ─bytes as letters─▶  "Ġcats"  ─merges─▶  ids

A text is split so that no token crosses from letters into spaces or signs; each piece is written as
bytes, and neighbours are merged, the pair that was most frequent in training first (Sennrich et
al., arXiv 1508.07909; on bytes: Radford et al., 2019). Any text can be encoded, and decoding gives
it back. The pattern of the split is GPT-2's; `Digits` before it cuts a number into its digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

from unfrozen.errors import PlanError

_SUFFIXES: Final = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_KNOWN: Final = {"Digits": "individual_digits", "ByteLevel": "use_regex"}


class Token(NamedTuple):
    """A token's id, and where in the text its first character stands."""

    id: int
    start: int


@cache
def byte_letters() -> tuple[str, ...]:
    """Return the printable character that stands for each byte: itself, or one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


@dataclass(frozen=True)
class Tokenizer:
    """`vocab` maps pieces to ids; `ranks` pairs to their place in the merges; `special` is whole.

    `digits` says whether every digit is a piece of its own.
    """

    vocab: Mapping[str, int]
    ranks: Mapping[tuple[str, str], int]
    special: Mapping[str, int]
    digits: bool
    _pieces: dict[int, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Tokenizer:
        """Return the tokenizer of a parsed `tokenizer.json`. Raises PlanError for another kind."""
        model, split = data["model"], data.get("pre_tokenizer") or {}
        parts = split.get("pretokenizers", [split])
        kinds = [part.get("type") for part in parts]
        if model.get("type") != "BPE" or kinds[-1:] != ["ByteLevel"] or set(kinds) - set(_KNOWN):
            found = f"{model.get('type')} after {kinds}"
            raise PlanError("tokenizer", found, "it must be byte-level BPE", "take another model")
        pairs = (tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"])
        special = {token["content"]: token["id"] for token in data.get("added_tokens", ())}
        vocab = model["vocab"] | special
        return cls(
            vocab=vocab,
            ranks={(first, second): rank for rank, (first, second) in enumerate(pairs)},
            special=special,
            digits="Digits" in kinds,
            _pieces={number: piece for piece, number in vocab.items()},
        )

    def encode(self, text: str) -> list[Token]:
        """Return the tokens of `text`; lone surrogates count as U+FFFD."""
        text = _SURROGATE.sub("\ufffd", text)
        stretches = self._stretches(text)
        return [token for start, end in stretches for token in self._of(text, start, end)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens; invalid UTF-8 becomes U+FFFD."""
        byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        hidden = set(self.special.values())
        letters = "".join(self._pieces[number] for number in ids if number not in hidden)
        return bytes(byte_of[letter] for letter in letters).decode("utf-8", "replace")

    def _stretches(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield [start, end) of each special token and of the text between them."""
        start = position = 0
        while position < len(text):
            found = next((s for s in self.special if text.startswith(s, position)), None)
            if found is None:
                position += 1
                continue
            yield start, position
            yield position, position + len(found)
            start = position = position + len(found)
        yield start, len(text)

    def _of(self, text: str, start: int, end: int) -> Iterator[Token]:
        if text[start:end] in self.special:
            yield Token(self.special[text[start:end]], start)
            return
        for first, last in split(text[start:end], digits=self.digits):
            yield from self._merged(text[start + first : start + last], start + first)

    def _merged(self, piece: str, start: int) -> Iterator[Token]:
        letters, places = [], []
        for offset, character in enumerate(piece):
            for byte in character.encode():
                letters.append(byte_letters()[byte])
                places.append(start + offset)
        while len(letters) > 1:
            best = min(pairwise(letters), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            letters, places = _joined(letters, places, best)
        for letter, place in zip(letters, places, strict=True):
            yield Token(self.vocab[letter], place)


def _joined(
    letters: list[str], places: list[int], pair: tuple[str, str]
) -> tuple[list[str], list[int]]:
    """Return both lists with every occurrence of the pair merged, from the left."""
    found: tuple[list[str], list[int]] = ([], [])
    index = 0
    while index < len(letters):
        both = tuple(letters[index : index + 2]) == pair
        found[0].append("".join(pair) if both else letters[index])
        found[1].append(places[index])
        index += 2 if both else 1
    return found


def split(text: str, *, digits: bool) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of the pieces of a text that tokens never cross."""
    if not digits:
        yield from _split_words(text, 0, len(text))
        return
    start = 0
    for index, character in enumerate(text):
        if _kind(character) == "number":
            yield from _split_words(text, start, index)
            yield index, index + 1
            start = index + 1
    yield from _split_words(text, start, len(text))


def _split_words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield English suffixes, runs of letters, numbers or signs after a blank, and blanks."""
    while start < end:
        suffix = next((s for s in _SUFFIXES if text.startswith(s, start, end)), "")
        blank = int(text[start] == " " and start + 1 < end)
        kind = _kind(text[start + blank])
        if suffix:
            stop = start + len(suffix)
        elif kind != "space":
            stop = start + blank + _run(text, start + blank, end)
        else:
            stop = start + _run(text, start, end)
            if stop < end and stop - start > 1:  # the last one belongs to what follows
                stop -= 1
        yield start, stop
        start = stop


def _run(text: str, start: int, end: int) -> int:
    """Return how many characters from `start` on are of one kind."""
    return sum(1 for _ in next(groupby(text[start:end], _kind))[1])


@cache
def _kind(character: str) -> str:
    if character.isspace() and not "\x1c" <= character <= "\x1f":  # which Unicode calls no space
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(character)[0], "sign")
