"""Tokens to add, as they are typed: which texts can be one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gpu_runner.errors import UsageError

MOST: Final = 256
LONGEST: Final = 64
"""Characters of one."""


def listed(given: Iterable[str]) -> tuple[str, ...]:
    """`["<a>,<b>", "<c>"]` as ("<a>", "<b>", "<c>"); blanks around commas mean nothing."""
    return tuple(one.strip() for text in given for one in text.split(","))


def check(tokens: tuple[str, ...] | None) -> None:
    """Refuse what can be no token of its own. Raises `UsageError` with the text and a remedy."""
    if tokens is None:
        return
    if not 0 < len(tokens) <= MOST:
        raise UsageError(f"--add-tokens has {len(tokens)} tokens: give 1 to {MOST:,}.")
    for number, token in enumerate(tokens):
        shown = repr(token[:LONGEST])
        if not token.strip() or token != token.strip():
            raise UsageError(
                f"--add-tokens: token {number + 1} is {shown}: it must be some letters without"
                " blanks around them, such as <tool>."
            )
        if len(token) > LONGEST or not token.isprintable():
            raise UsageError(
                f"--add-tokens: {shown} is too long or has characters that cannot be printed: give"
                f" at most {LONGEST}."
            )
        if token in tokens[:number]:
            raise UsageError(f"--add-tokens: {shown} occurs twice: keep one of them.")
        if _joins_words(token[0]) or _joins_words(token[-1]):
            raise UsageError(
                f"--add-tokens: {shown} would cut plain words in two wherever they hold it: let it"
                f" begin and end with a sign, as <{_bare(token)}>."
            )


def _bare(token: str) -> str:
    return "".join(letter for letter in token if letter.isalnum()) or "name"


def _joins_words(letter: str) -> bool:
    return letter.isalnum() or letter == "_"
