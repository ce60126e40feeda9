"""Text for a person: escaped control characters, counts, signs, intervals, wrapped sentences."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the server does not need it
    from rich.console import Console
    from rich.text import Text

    from unfrozen.held_out import Interval

_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that control a terminal, and surrogates that cannot be encoded."""


def printable(text: str) -> str:
    """Return untrusted text with control characters escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def counted(count: int, noun: str = "row") -> str:
    """Return a count with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def signed(change: float) -> str:
    """Return a change with its sign, without one if it rounds to 0: "+0.012", "−0.300", "0.000"."""
    return f"{change:+.3f}".replace("-", "−") if round(change, 3) else "0.000"


def with_interval(value: float, within: Interval | None, sign: str = "") -> str:
    """Return a value and its interval: "0.500 (0.250 to 0.750)", with "+" as the sign of both."""
    ends = f" ({within.low:{sign}.3f} to {within.high:{sign}.3f})" if within else ""
    return f"{value:{sign}.3f}{ends}".replace("-", "−")


def sentence(console: Console, text: Text) -> None:
    """Print text that wraps between words on a terminal and stays one line in a file or a pipe."""
    from rich.text import Text

    if console.is_terminal:
        wrapped = textwrap.fill(
            text.plain, console.width, break_long_words=False, break_on_hyphens=False
        )
        text = Text(wrapped, spans=text.spans)
    console.print(text, soft_wrap=True)  # so that a path can be copied whole
