"""The reference of the Python library, as Markdown: signatures and docstrings from the source.

Nothing is imported: what watches a training loop needs PyTorch, which a build does without.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Final

from site_builder import SiteError
from site_builder.config import ROOT

PY: Final = ROOT / "py"
TITLE: Final = "The Python library"
INTRODUCTION: Final = """\
`import unfrozen` plans, watches a training loop, and publishes tables and plots from a cell. Every
text below is the docstring of what it describes.
"""
_GROUPS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "Plan": {
        "unfrozen/request.py": ("plan", "Request", "PlanAnswer"),
        "unfrozen/errors.py": ("PlanError",),
    },
    "Watch a training loop": {
        "gpu_runner/watch/run.py": ("watch", "WatchedRun"),
        "gpu_runner/watch/callback.py": ("Callback",),
        "gpu_runner/watch/tracker.py": ("Tracker",),
        "gpu_runner/watch/lightning.py": ("LightningCallback",),
    },
    "Publish from a cell": {"unfrozen/publish.py": ("show_table", "show_plot")},
}
_Defined = ast.FunctionDef | ast.ClassDef
_WIDEST: Final = 76


@cache
def text() -> str:
    """Return the reference; raises SiteError for a name that its file does not define."""
    lines = [INTRODUCTION]
    for title, files in _GROUPS.items():
        lines.append(f"## {title}")
        for path, names in files.items():
            tree = ast.parse((PY / path).read_text(encoding="utf-8"))
            known = {node.name: node for node in tree.body if isinstance(node, _Defined)}
            for name in names:
                if name not in known:
                    raise SiteError(f"py/{path}", f"the reference names {name}, it is not there")
                lines += _describe(known[name], 3)
    return "\n\n".join(lines)


def _describe(node: _Defined, level: int) -> Iterator[str]:
    """Yield the heading, the signature and the docstring of a definition, then its methods."""
    yield f"{'#' * level} `{node.name}`"
    if signature := _signature(node):
        yield f"```python\n{signature}\n```"
    yield inspect.cleandoc(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and not part.name.startswith(("_", "on_")):
                yield from _describe(part, level + 1)


def _signature(node: _Defined) -> str:
    """Return how a function or a class is called; for a dataclass its fields; "" for a property."""
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
        made = (part for part in node.body if isinstance(part, ast.FunctionDef))
        init = next((part for part in made if part.name == "__init__"), None)
        return _call(node.name, init.args, "") if init else "\n".join(fields)
    decorators = {ast.unparse(each) for each in node.decorator_list}
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return "" if "property" in decorators else _call(node.name, node.args, result)


def _call(name: str, arguments: ast.arguments, result: str) -> str:
    given = ast.unparse(arguments).removeprefix("self, ").removeprefix("self")
    if len(line := f"{name}({given}){result}") <= _WIDEST:
        return line
    return f"{name}(\n    {_one_a_line(given)},\n){result}"


def _one_a_line(arguments: str) -> str:
    """Return arguments on a line each: the commas that stand in no bracket part them."""
    depth, lines = 0, [""]
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            lines.append("")
        else:
            lines[-1] += letter
    return ",\n    ".join(line.strip() for line in lines)
