"""Write reference.md, the names that a program may use, from their docstrings.

    python3 docs/reference.py          run it again when a docstring or a signature has changed

Sources are read and not imported, so PyTorch is not needed.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
NAMES: Final = {
    "Plan": (
        ("unfrozen.plan", "unfrozen/request.py", "plan"),
        ("unfrozen.request.Request", "unfrozen/request.py", "Request"),
        ("unfrozen.request.PlanAnswer", "unfrozen/request.py", "PlanAnswer"),
        ("unfrozen.errors.PlanError", "unfrozen/errors.py", "PlanError"),
    ),
    "Watch": (
        ("unfrozen.watch", "gpu_runner/watch/run.py", "watch"),
        ("unfrozen.WatchedRun", "gpu_runner/watch/run.py", "WatchedRun"),
        ("unfrozen.Callback", "gpu_runner/watch/callback.py", "Callback"),
        ("unfrozen.LightningCallback", "gpu_runner/watch/lightning.py", "LightningCallback"),
        ("unfrozen.Tracker", "gpu_runner/watch/tracker.py", "Tracker"),
    ),
    "Read": (
        ("gpu_runner.log.check_run.check_run", "gpu_runner/log/check_run.py", "check_run"),
        ("gpu_runner.log.check_run.WholeLog", "gpu_runner/log/check_run.py", "WholeLog"),
        ("gpu_runner.log.sample_logs.judge", "gpu_runner/log/sample_logs.py", "judge"),
    ),
}
"""The public names, under their headings: what one types, its file, its name there."""
Documented = ast.FunctionDef | ast.ClassDef


def page() -> str:
    """Return the page."""
    parts = ["# Reference of the library", "Written by `docs/reference.py` from docstrings."]
    for heading, names in NAMES.items():
        parts.append(f"## {heading}")
        for public, file, name in names:
            tree = ast.parse((ROOT / "py" / file).read_text("utf-8"))
            found = next(
                node for node in tree.body if isinstance(node, Documented) and node.name == name
            )
            parts += _entry("###", public, found)
    return "\n\n".join(parts) + "\n"


def _entry(level: str, public: str, node: Documented) -> Iterator[str]:
    yield f"{level} `{public}`"
    signature = _signature(node)
    if signature:
        yield f"```python\n{signature}\n```"
    if text := ast.get_docstring(node):
        yield _prose(text)
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                yield from _entry("####", f"{public.rpartition('.')[2]}.{inner.name}", inner)


def _signature(node: Documented) -> str:
    """Return how it is called; the fields of a dataclass with their types."""
    if isinstance(node, ast.FunctionDef):
        if any("property" in ast.unparse(one) for one in node.decorator_list):
            return ""
        shell = ast.FunctionDef(**{**vars(node), "body": [ast.Expr(ast.Constant(...))]})
        shell.decorator_list = []
        return ast.unparse(shell).replace("\n    ...", " ...")
    fields = [ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign)]
    return "\n".join(fields)


def _prose(text: str) -> str:
    """Return a docstring as Markdown: what it indents, as it stands."""
    blocks = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"```\n{inspect.cleandoc(one)}\n```" if one.startswith("    ") or "\n    " in one else one
        for one in blocks
    )


if __name__ == "__main__":
    (ROOT / "docs" / "reference.md").write_text(page(), "utf-8")
