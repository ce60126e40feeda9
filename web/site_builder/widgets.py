"""The page's widgets, as `web/widgets.toml` lists them: tag, block, first view, script."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

WEB: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Widget:
    """One custom element; the fields are explained in `web/widgets.toml`."""

    tag: str
    script: str = ""
    block: str = ""
    python: str = ""
    draw: str = ""
    inline: bool = False

    def first_view(self) -> dict[str, Any]:
        """The view of the default state, as the element draws it before any script runs."""
        view: dict[str, Any] = import_module(self.python).view({})
        return view


def read_widgets() -> tuple[Widget, ...]:
    """Every widget of `web/widgets.toml`, in its order."""
    table = tomllib.loads((WEB / "widgets.toml").read_text(encoding="utf-8"))
    return tuple(Widget(tag, **fields) for tag, fields in table.items())


def loader_script(widgets: tuple[Widget, ...]) -> str:
    """The module `widgets` that `main.js` imports: tag, block and loader of each late script."""
    entries = ",\n".join(
        f"  [{json.dumps(widget.tag)}, {json.dumps(widget.block)},"
        f" () => import({json.dumps(str(WEB / widget.script))})]"
        for widget in widgets
        if widget.script
    )
    return f"export const WIDGETS = [\n{entries},\n];\n"


WIDGETS: Final = read_widgets()
