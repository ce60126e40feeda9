"""The `js` module a cell publishes its table and plots through, checked on assignment.

In a page a cell writes `js.window.py_table_data = json.dumps(…)`. Here that assignment is
validated at once, so a wrong value raises in the reader's own line and nothing reaches the page.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from unfrozen.publish import parse_plots, parse_table

PARSERS: dict[str, Callable[[object], object]] = {
    "py_table_data": parse_table,
    "py_plot_data": parse_plots,
}


class Window:
    """Stands for the browser's `window`: two names are published, all others are kept as set."""

    def __init__(self, on_publish: Callable[[str, str], None]) -> None:
        """Call `on_publish(name, json_text)` after each valid assignment to a published name."""
        object.__setattr__(self, "_on_publish", on_publish)

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a published name before it is stored; raises PublishError, storing nothing."""
        parse = PARSERS.get(name)
        if parse is not None:
            parse(value)
            value = str.__str__(value)  # of a class of the cell's own, it would say what it likes
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
