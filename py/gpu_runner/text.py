"""Text for a person: a terminal that untrusted text cannot control, counts, signs, sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unfrozen.shell import printable as printable
from unfrozen.shell import typed as typed

if TYPE_CHECKING:  # the server does not need it
    from rich.console import Console
    from rich.text import Text

    from unfrozen.held_out import Interval


def make_console(**options: Any) -> Console:
    """Return a terminal for untrusted text: it reads no markup, and escapes what would control it.

    It has the options of rich's.
    """
    from rich.console import Console
    from rich.segment import Segment
    from rich.status import Status
    from rich.text import Text

    class PlainStatus(Status):
        def update(self, status: Any = None, **more: Any) -> None:
            super().update(Text(status) if isinstance(status, str) else status, **more)

    class Escaping(Console):
        def status(self, status: Any, **more: Any) -> Status:
            return PlainStatus(Text(status), console=self, **more)

        def render_str(self, text: str, **more: Any) -> Text:  # before its width is measured
            return super().render_str(printable(text, lines=True), **more)

        def render(self, *given: Any, **more: Any) -> Iterator[Segment]:
            for one in super().render(*given, **more):
                yield one if one.control else one._replace(text=printable(one.text, lines=True))

    return Escaping(highlight=False, markup=False, **options)


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
