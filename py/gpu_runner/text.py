"""Words for a terminal: counts, signs, and sentences that break where they may."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the server has no need of it
    from rich.console import Console
    from rich.text import Text

_COMMANDS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that a terminal obeys instead of showing, and halves that cannot be written."""


def printable(text: str) -> str:
    """Foreign text as it may be printed: what would steer a terminal is spelled out instead."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def counted(count: int, noun: str = "row") -> str:
    """A number of things in words: "1 row", "2,000 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def signed(change: float) -> str:
    """A change with its sign, none for what rounds to nothing: "+0.012", "-0.300", "0.000"."""
    return f"{change:+.3f}" if round(change, 3) else "0.000"


def sentence(console: Console, text: Text) -> None:
    """Text that breaks between words on a terminal; in a file or a pipe it stays one line."""
    from rich.text import Text

    if console.is_terminal:
        wrapped = textwrap.fill(
            text.plain, console.width, break_long_words=False, break_on_hyphens=False
        )
        text = Text(wrapped, spans=text.spans)
    console.print(text, soft_wrap=True)  # a path is copied whole
