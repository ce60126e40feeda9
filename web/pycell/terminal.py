"""What Python offers at a terminal, where there is none: `input`, `help`, `exit` and `quit`."""

from __future__ import annotations

import contextlib
import io
import pydoc
from typing import Any, NoReturn


def no_input(_prompt: object = "", /) -> NoReturn:
    """Refuse in words what would otherwise fail as an I/O error."""
    raise RuntimeError("input() cannot ask you here: assign the value in the cell and run it again")


def leave(code: object = None, /) -> NoReturn:
    """End the run, as `sys.exit` does; nothing is closed, for the next cell needs it."""
    raise SystemExit if code is None else SystemExit(code)


class Help:
    """`help(…)` prints what it knows of one thing; without one it says how to ask."""

    def __repr__(self) -> str:
        """What `help` alone shows."""
        return "Write help(len), or help('topics') for a list of what else it knows."

    def __call__(self, *request: Any) -> None:
        """Print the documentation of one object, or of what a text names."""
        if not request:
            print(repr(self))
            return
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            pydoc.Helper(io.StringIO(), text).help(*request)
        print(pydoc.plain(text.getvalue()).rstrip())
