"""The lines of a cell that stay in sight: the other ones are folded away until a reader asks.

A cell of at most `MOST_LINES` lines is shown whole. Of a longer one the imports are folded, then
what publishes its results, then what exceeds `MOST_LINES`; or its fence names the lines in sight:

    ```python cell id=memory-table run="Compute the table" show=5-9,12
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import groupby
from typing import Final

from site_builder import SiteError

MOST_LINES: Final = 12
LEAST_LINES: Final = 3  # fewer say nothing: what publishes stays in sight then
_RANGES: Final = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_CALLS: Final = {"show_plot", "show_table"}
_PUBLISHED: Final = {"py_plot_data", "py_table_data"}


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
