"""Highlighted code, and functions printed from the file they run in, so that neither can go stale.

    ```source gpu_runner/train/loop.py train_step

The path is one below py/; the name is that of a function or class, `Class.method` for what is
inside one. The block holds nothing: what is printed comes from the file.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path
from typing import Final

from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from site_builder.errors import SiteError

PY: Final = Path(__file__).resolve().parents[2] / "py"


def highlighted(source: str, language: str, where: str) -> str:
    """Mark up `source`, changing no character of its text; SiteError for an unknown language."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound as raised:
        raise SiteError(where, f"no highlighter for a block marked {language!r}") from raised
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True)))


def source_listing(words: list[str], where: str, folder: Path = PY) -> str:
    """The HTML of one listing; raises SiteError when the file or what it should define is gone."""
    if len(words) != 2:
        raise SiteError(where, "write it as ```source package/file.py function")
    name, wanted = words
    path = folder / name
    if not path.is_file():
        raise SiteError(where, f"prints {wanted} of py/{name}, but there is no such file")
    lines = path.read_text(encoding="utf-8").splitlines()
    first, last = _extent("\n".join(lines), wanted, name, where)
    code = highlighted("\n".join(lines[first - 1 : last]) + "\n", "python", where)
    place = f'<code class="source-path">py/{escape(name)}</code>'
    return (
        f'<div class="source-listing wide" id="source-{wanted.lower().replace("_", "-")}">\n'
        f'<p class="source-name">{place}, lines {first} to {last}</p>\n'
        f'<pre class="listing" tabindex="0"><code class="language-python">{code}</code></pre>\n'
        "</div>\n"
    )


def _extent(source: str, wanted: str, name: str, where: str) -> tuple[int, int]:
    """First and last line of a definition, decorators included, counted from 1."""
    scope: list[ast.stmt] = ast.parse(source).body
    found: ast.stmt | None = None
    for part in wanted.split("."):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        named = [node for node in scope if isinstance(node, kinds)]
        found = next((node for node in named if node.name == part), None)
        if found is None:
            known = ", ".join(node.name for node in named) or "nothing"
            raise SiteError(where, f"py/{name} does not define {wanted}; it defines {known}")
        scope = found.body
    assert found is not None
    decorators = getattr(found, "decorator_list", [])
    first = min([found.lineno, *(node.lineno for node in decorators)])
    return first, found.end_lineno or first
