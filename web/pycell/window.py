"""What a cell reaches of its surroundings: the `js` module, and `input`, `help`, `exit` and `quit`.

A cell publishes its table and plots through `js`: `js.window.py_table_data = json.dumps(…)`. Here
that assignment is validated at once, so a wrong value raises in the reader's own line and nothing
reaches the page.
"""

from __future__ import annotations

import contextlib
import io
import pydoc
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from unfrozen.publish import parse_plots, parse_table

PARSERS: dict[str, Callable[[object], object]] = {
    "py_table_data": parse_table,
    "py_plot_data": parse_plots,
}


class Window:
    """Stands for the browser's `window`: two names are published, others only stored."""

    def __init__(self, on_publish: Callable[[str, str], None]) -> None:
        """Call `on_publish(name, json_text)` after each valid assignment to a published name."""
        object.__setattr__(self, "_on_publish", on_publish)

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a published name before it is stored; raises PublishError, storing nothing."""
        parse = PARSERS.get(name)
        if parse is not None:
            parse(value)
            value = str.__str__(value)  # a subclass of the cell's own could change its text later
        object.__setattr__(self, name, value)
        if parse is not None:
            self._on_publish(name, value)

    def __getattr__(self, name: str) -> Any:
        """Explain a missing name: reached only when nothing was stored under it."""
        if name in PARSERS:
            raise AttributeError(
                f"window.{name} has not been set yet: assign JSON text to it first"
            )
        raise AttributeError(
            f"window.{name} does not exist here: a cell runs apart from the page and can set "
            f"{' and '.join(f'window.{known}' for known in PARSERS)}"
        )


def make_js_module(on_publish: Callable[[str, str], None]) -> ModuleType:
    """Make the module to be put into `sys.modules["js"]`; its only public name is `window`.

    `on_publish` gets "py_table_data" or "py_plot_data" and the JSON text exactly as assigned.
    """
    module = ModuleType("js", "What a cell can reach of the page: `window`, to publish through.")
    module.__dict__["window"] = Window(on_publish)
    return module


def no_input(_prompt: object = "", /) -> NoReturn:
    """Refuse with a reason what would otherwise fail as an I/O error."""
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
