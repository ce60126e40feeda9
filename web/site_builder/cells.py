"""Live cells: read their info string, run them, and bake what they left into the page.

    ```python cell id=memory-table run="Compute the table"

`guess=` and a key of `unfrozen.guesses` let the reader say first what they expect.

The markup is the contract with `<live-cell>`: its source is the text of `pre.cell-source`, and the
element turns live in place, so nothing moves.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from pycell.cell import run_cell
from pycell.window import make_js_module
from site_builder.errors import SiteError
from site_builder.listing import highlighted
from site_builder.renderings import Renderings
from unfrozen.guesses import GUESSES

_ID = re.compile(r"[a-z][a-z0-9-]*")
NOTE = "Computed when this page was built"


@dataclass(frozen=True)
class CellTag:
    """What an info string says: the element's id, what its Run button promises, and what a
    reader may guess first.
    """

    id: str
    run_label: str
    guess: str = ""

    @classmethod
    def parse(cls, info: str, where: str) -> CellTag | None:
        """Read an info string; None for any other block, SiteError for a wrong one."""
        words = info.split(None, 2)
        if words[:2] != ["python", "cell"]:
            return None
        try:
            given = dict(pair.split("=", 1) for pair in shlex.split(info)[2:])
        except ValueError as raised:
            raise SiteError(where, f"cannot read the info string {info!r}: {raised}") from raised
        guess = given.pop("guess", "")
        if set(given) != {"id", "run"} or not _ID.fullmatch(given["id"]):
            remedy = 'write it as ```python cell id=lower-case-name run="What the button does"'
            raise SiteError(where, f"the cell has {info!r}; {remedy}")
        if guess and guess not in GUESSES:
            raise SiteError(where, f"no guess is called {guess!r}; there are {', '.join(GUESSES)}")
        return cls(given["id"], given["run"], guess)


@dataclass
class Baked:
    """What one cell left: text, value, and the last table and plots it published."""

    stdout: str = ""
    value: str | None = None
    table: Any = None
    plots: list[Any] = field(default_factory=list)


class CellBaker:
    """Runs the cells of the page in order in one namespace, as the reader's interpreter does."""

    def __init__(self, renderings: Renderings) -> None:
        """Draw what the cells publish through `renderings`."""
        self._namespace: dict[str, Any] = {}
        self._renderings = renderings
        self._where: dict[str, str] = {}

    def bake(self, tag: CellTag, source: str, where: str) -> str:
        """Run a cell whose fence opens at `where`; return its element, or raise SiteError."""
        if tag.id in self._where:
            raise SiteError(where, f"cell id {tag.id!r} is taken by {self._where[tag.id]}")
        self._where[tag.id] = where
        baked = self._run(tag, source, where)
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        code = highlighted(source, "python", where)
        label = escape(tag.run_label)
        return (
            f'<live-cell id="{tag.id}" data-hash="{digest}" data-run-label="{label}">\n'
            f"{_guess_line(tag.guess)}"
            '<pre class="cell-source" tabindex="0">'
            f'<code class="language-python">{code}</code></pre>\n'
            f'<div class="cell-output" data-baked>\n{"".join(self._output(baked, where))}'
            f'<p class="cell-note">{NOTE}</p>\n</div>\n</live-cell>\n'
        )

    def _run(self, tag: CellTag, source: str, where: str) -> Baked:
        baked = Baked()
        pieces: list[str] = []

        def publish(name: str, text: str) -> None:
            if name == "py_table_data":
                baked.table = json.loads(text)
            else:
                baked.plots = json.loads(text)

        with _js_module(publish):
            result = run_cell(source, self._namespace, pieces.append, tag.id)
        if result.error is not None:
            chapter, _, fence = where.rpartition(":")
            line = int(fence) + (result.error.line or 0)
            problem = f"cell {tag.id!r} failed\n{result.error.traceback.rstrip()}"
            raise SiteError(f"{chapter}:{line}", problem)
        baked.stdout, baked.value = "".join(pieces), result.value_repr
        return baked

    def _output(self, baked: Baked, where: str) -> Iterator[str]:
        printed = {"stdout": baked.stdout or None, "value": baked.value}
        for name, text in printed.items():
            if text is not None:
                shown = escape(text, quote=False)
                yield f'<pre class="cell-{name}" tabindex="0">{shown}</pre>\n'
        if baked.table is not None:
            yield data_element("table", baked.table, where, self._renderings)
        for plot in baked.plots:
            yield data_element("plot", plot, where, self._renderings)


def _guess_line(key: str) -> str:
    """Where the reader types what they expect; without a script there is nothing to run."""
    if not key:
        return ""
    guess = GUESSES[key]
    return (
        f'<p class="cell-guess" data-guess="{key}"><label>Guess first: {escape(guess.question)} '
        f'<input type="text" size="7" maxlength="24" autocomplete="off"> {guess.unit}</label></p>\n'
    )


def data_element(kind: str, data: Any, where: str, renderings: Renderings) -> str:
    """A `<data-table>` or `<data-plot>` with its data, drawn when the page is put together."""
    html = renderings.add(where, kind, data=data)
    return f"<data-{kind}>{embedded_json(data, 'data')}{html}</data-{kind}>\n"


def embedded_json(data: Any, css_class: str = "", element_id: str = "") -> str:
    """Put data into a script element that no browser runs; `</script>` in it cannot end it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    names = (f' class="{css_class}"' if css_class else "") + (
        f' id="{element_id}"' if element_id else ""
    )
    return f'<script type="application/json"{names}>{text}</script>'


@contextmanager
def _js_module(publish: Any) -> Iterator[None]:
    """Let `import js` find the shim for the length of one cell."""
    before = sys.modules.get("js")
    sys.modules["js"] = make_js_module(publish)
    try:
        yield
    finally:
        del sys.modules["js"]
        if before is not None:
            sys.modules["js"] = before
