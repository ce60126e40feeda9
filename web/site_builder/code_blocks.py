"""Fenced code blocks: live cells that run here, definitions included from a file, plain listings.

    ```python cell id=memory-table run="Compute the table"
    ```source gpu_runner/train/loop.py train_step show=1,10-20

A cell may also have `guess=` and a key of `unfrozen.guesses`: the reader is asked for a
guess first; and `show=3-9`, the lines that stay in sight. `<live-cell>` takes its source from the
text of `pre.cell-source` and upgrades in place, so that nothing moves. A folded one is unfolded by
the `<details>` before it, which needs no script.

A cell of at most `MOST_LINES` lines is shown whole. Of a longer one the imports are folded, then
what publishes its results, then what exceeds `MOST_LINES`; or `show=` names the lines in sight.

A `source` block is empty: the function or class comes from its file below py/, so that it cannot
go out of date. Its lines are counted from 1, and all are in sight where `show=` names none.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pygments import highlight as pygments_highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from pycell.cell import run_cell
from pycell.window import make_js_module
from site_builder import SiteError
from site_builder.config import ROOT
from site_builder.rendering import RenderQueue, data_element
from unfrozen.guesses import GUESSES

PY: Final = ROOT / "py"
NOTE: Final = "Computed beforehand"
_ID: Final = re.compile(r"[a-z][a-z0-9-]*")
MOST_LINES: Final = 12
LEAST_LINES: Final = 3  # fewer say nothing: what publishes stays in sight then
_RANGES: Final = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
COLOURED: Final = {
    *("c", "c1", "fm", "k", "kc", "kn", "mf", "mi", "nb", "nf", "ow"),
    *("s1", "s2", "sa", "sd", "se", "si"),
}
"""Tokens that style/components/code.css colours; others would be a fifth of all elements."""
_UNCOLOURED: Final = re.compile(rf'<span class="(?!(?:{"|".join(COLOURED)})")\w+">([^<]*)</span>')
_CALLS: Final = {"show_plot", "show_table"}
_PUBLISHED: Final = {"py_plot_data", "py_table_data"}
CELL: Final = ["python", "cell"]


def highlight(source: str, language: str, where: str) -> str:
    """Return `source` with syntax colours; its text is unchanged.

    Raises SiteError for an unknown language.
    """
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound as raised:
        raise SiteError(where, f"no highlighter for a block marked {language!r}") from raised
    return _UNCOLOURED.sub(r"\1", pygments_highlight(source, lexer, HtmlFormatter(nowrap=True)))


def listing(source: str, language: str, where: str) -> str:
    """Return a block of highlighted code that the reader cannot run."""
    code = highlight(source, language, where)
    code = f'<code class="language-{language}">{code}</code>'
    return f'<pre class="listing" tabindex="0">{code}</pre>\n'


def include_source(words: list[str], where: str, folder: Path = PY) -> str:
    """Return the listing of a definition; raises SiteError when the file or definition is gone."""
    if len(words) not in (2, 3) or not all(word.startswith("show=") for word in words[2:]):
        raise SiteError(where, "write it as ```source package/file.py function show=3-9")
    name, wanted, *options = words
    path = folder / name
    if not path.is_file():
        raise SiteError(where, f"includes {wanted} of py/{name}, but there is no such file")
    lines = path.read_text(encoding="utf-8").splitlines()
    first, last = _find_definition("\n".join(lines), wanted, name, where)
    source = "".join(f"{line}\n" for line in lines[first - 1 : last])
    code = listing(source, "python", where)
    for option in options:
        shown = lines_in_sight(source, option.removeprefix("show="), where)
        code = _code(source, shown, "listing", where)
    place = f'<code class="source-path">py/{escape(name)}</code>'
    return (
        f'<div class="source-listing wide" id="source-{wanted.lower().replace("_", "-")}">\n'
        f'<p class="source-name">{place}, lines {first} to {last}</p>\n'
        f"{code}</div>\n"
    )


def _find_definition(source: str, wanted: str, name: str, where: str) -> tuple[int, int]:
    """Return the first and last line of a function or class, decorators included."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    named = {node.name: node for node in ast.parse(source).body if isinstance(node, kinds)}
    if wanted not in named:
        known = ", ".join(named) or "nothing"
        raise SiteError(where, f"py/{name} does not define {wanted}; it defines {known}")
    found = named[wanted]
    first = min([found.lineno, *(node.lineno for node in found.decorator_list)])
    return first, found.end_lineno or first


@dataclass(frozen=True)
class CellOptions:
    """The options of a cell: id, label of its Run button, guess, and the lines it shows folded."""

    id: str
    run_label: str
    guess: str = ""
    show: str = ""

    @classmethod
    def parse(cls, info: str, where: str) -> CellOptions | None:
        """Read an info string; None for another kind of block, SiteError for a wrong one."""
        if info.split()[:2] != CELL:
            return None
        try:
            given = dict(pair.split("=", 1) for pair in shlex.split(info)[2:])
        except ValueError as raised:
            raise SiteError(where, f"cannot read the info string {info!r}: {raised}") from raised
        guess, show = given.pop("guess", ""), given.pop("show", "")
        if set(given) != {"id", "run"} or not _ID.fullmatch(given["id"]):
            remedy = 'write it as ```python cell id=lower-case-name run="What the button does"'
            raise SiteError(where, f"the cell has {info!r}; {remedy}")
        if guess and guess not in GUESSES:
            raise SiteError(where, f"no guess is called {guess!r}; there are {', '.join(GUESSES)}")
        return cls(given["id"], given["run"], guess, show)


@dataclass(frozen=True)
class CellHtml:
    """A cell in parts, for the order in which they stand: in a figure its code comes last."""

    open: str
    guess: str
    output: str
    code: str
    close: str = "</live-cell>\n"


@dataclass
class CapturedOutput:
    """The output of one cell: its text, its value, and the last table and plots it published."""

    stdout: str = ""
    value: str | None = None
    table: Any = None
    plots: list[Any] = field(default_factory=list)


class CellRunner:
    """Runs the cells of the page, each in a new namespace: none needs another's variables."""

    def __init__(self, queue: RenderQueue) -> None:
        """Tables and plots are drawn through `queue`."""
        self._queue = queue
        self._where: dict[str, str] = {}

    def render(self, options: CellOptions, source: str, where: str) -> CellHtml:
        """Run a cell whose fence opens at `where`; return its HTML, or raise SiteError."""
        if options.id in self._where:
            raise SiteError(where, f"cell id {options.id!r} is taken by {self._where[options.id]}")
        self._where[options.id] = where
        output = self._run(options.id, source, where)
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        label = escape(options.run_label)
        return CellHtml(
            f'<live-cell id="{options.id}" data-hash="{digest}" data-run-label="{label}">\n',
            _guess_line(options.guess),
            f'<div class="cell-output" data-baked>\n{"".join(self._elements(output, where))}'
            f'<p class="cell-note">{NOTE}</p>\n</div>\n',
            _code(source, lines_in_sight(source, options.show, where), "cell-source", where),
        )

    def _run(self, cell_id: str, source: str, where: str) -> CapturedOutput:
        output = CapturedOutput()
        pieces: list[str] = []

        def publish(name: str, text: str) -> None:
            if name == "py_table_data":
                output.table = json.loads(text)
            else:
                output.plots = json.loads(text)

        with _js_module(publish):
            result = run_cell(source, {}, pieces.append, cell_id)
        if result.error is not None:
            chapter, _, fence = where.rpartition(":")
            line = int(fence) + (result.error.line or 0)
            problem = f"cell {cell_id!r} failed\n{result.error.traceback.rstrip()}"
            raise SiteError(f"{chapter}:{line}", problem)
        output.stdout, output.value = "".join(pieces), result.value_repr
        return output

    def _elements(self, output: CapturedOutput, where: str) -> Iterator[str]:
        for name, text in {"stdout": output.stdout or None, "value": output.value}.items():
            if text is not None:
                shown = escape(text, quote=False)
                yield f'<pre class="cell-{name}" tabindex="0">{shown}</pre>\n'
        if output.table is not None:
            yield data_element("table", output.table, where, self._queue)
        for plot in output.plots:
            yield data_element("plot", plot, where, self._queue)


def _code(source: str, shown: Set[int], name: str, where: str) -> str:
    """Return a source whose lines are folded, but for those of these numbers."""
    lines = len(source.splitlines())
    code = fold_lines(highlight(source, "python", where), shown)
    fold = f'<details class="fold cell-fold"><summary>All {lines} lines</summary></details>\n'
    return (
        f"{fold if len(shown) < lines else ''}"
        f'<pre class="{name}" tabindex="0"><code class="language-python">{code}</code></pre>\n'
    )


def _guess_line(key: str) -> str:
    """Return the field for the reader's guess, if the cell has one."""
    if not key:
        return ""
    guess = GUESSES[key]
    return (
        f'<p class="cell-guess" data-guess="{key}"><label>Guess first: {escape(guess.question)} '
        f'<input type="text" size="7" maxlength="24" autocomplete="off"> {guess.unit}</label></p>\n'
    )


@contextmanager
def _js_module(publish: Callable[[str, str], None]) -> Iterator[None]:
    """Make `import js` find the stand-in for the browser's window while a cell runs."""
    before = sys.modules.get("js")
    sys.modules["js"] = make_js_module(publish)
    try:
        yield
    finally:
        del sys.modules["js"]
        if before is not None:
            sys.modules["js"] = before


def lines_in_sight(source: str, show: str, where: str) -> Set[int]:
    """Return the numbers, from 1, of the lines that a folded cell shows.

    `show` is the option of its fence, or "". Raises SiteError when it names too many, or others.
    """
    lines = source.split("\n")
    if show:
        return _named_lines(show, len(lines), where)
    if len(lines) <= MOST_LINES:
        return frozenset(range(1, len(lines) + 1))
    statements = ast.parse(source).body
    imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    asides = [*imports, *filter(_publishes, statements)]
    found = [_lines_without(folded, lines) for folded in (imports, asides)]
    long_enough = [numbers for numbers in found if len(numbers) >= LEAST_LINES] or found[:1]
    best = next((n for n in long_enough if len(n) <= MOST_LINES), long_enough[-1])
    return frozenset(_without_blank_end(best[:MOST_LINES], lines))


def fold_lines(html: str, shown: Set[int]) -> str:
    """Return highlighted code, each run of lines that is not in `shown` in an element that folds.

    Its text is unchanged.
    """
    groups = groupby(enumerate(_LINE.findall(html), 1), key=lambda numbered: numbered[0] in shown)
    return "".join(_group("".join(line for _, line in group), seen) for seen, group in groups)


def _group(html: str, seen: bool) -> str:
    if seen or not html.strip():  # blank lines hide nothing
        return html
    return f'<span class="cell-gap"><span class="cell-folded">{html}</span></span>'


def _named_lines(show: str, count: int, where: str) -> Set[int]:
    if not _RANGES.fullmatch(show):
        raise SiteError(where, f"cannot read show={show}; write it as show=3-9,12")
    found = {number for part in show.split(",") for number in _range(part)}
    if len(found) > MOST_LINES or not found <= set(range(1, count + 1)):
        problem = f"show={show} names {len(found)} lines; choose {MOST_LINES} at most of 1-{count}"
        raise SiteError(where, problem)
    return found


def _range(part: str) -> Iterator[int]:
    first, _, last = part.partition("-")
    yield from range(int(first), int(last or first) + 1)


def _publishes(node: ast.stmt) -> bool:
    """Return whether a statement only publishes a table or plots."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return isinstance(called, ast.Name) and called.id in _CALLS
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        return node.targets[0].attr in _PUBLISHED
    return False


def _lines_without(folded: Iterable[ast.stmt], lines: Sequence[str]) -> list[int]:
    """Return the numbers of the lines outside some statements, without the blank lines there."""
    inside = {n for node in folded for n in range(node.lineno, (node.end_lineno or 0) + 1)}
    left = [n for n in range(1, len(lines) + 1) if n not in inside]
    return [n for n in left if lines[n - 1].strip() or {n - 1, n + 1} <= set(left)]


def _without_blank_end(numbers: list[int], lines: Sequence[str]) -> list[int]:
    return numbers[:-1] if numbers and not lines[numbers[-1] - 1].strip() else numbers
