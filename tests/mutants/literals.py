"""Numeric literals of Python files, each a mutant: where it is, what it becomes, who reaches it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One literal with another value.

    `lines` are those of its statement. `names` are whose it is, where it is computed on import: of
    a constant, a function with defaults, a class with fields.
    """

    path: Path
    index: int
    line: int
    old: float
    lines: frozenset[int]
    names: frozenset[str]

    @property
    def new(self) -> float:
        """One more of a small whole number, twice any other, and 1 for 0."""
        if self.old == 0 or (isinstance(self.old, int) and self.old < 10):
            return self.old + 1
        return 2 * self.old

    @property
    def text(self) -> str:
        """The line of the literal, without its margin."""
        return self.path.read_text("utf-8").splitlines()[self.line - 1].strip()

    def code(self) -> CodeType:
        """The file's module with this literal changed, compiled."""
        tree = ast.parse(self.path.read_text("utf-8"))
        constant = [node for node, _ in _numbers(tree)][self.index]
        constant.value = self.new
        return compile(tree, str(self.path), "exec")


def _numbers(tree: ast.Module) -> Iterator[tuple[ast.Constant, list[ast.AST]]]:
    """Each number with the nodes around it, but the sizes of caches: they change no answer."""
    around: list[tuple[ast.AST, list[ast.AST]]] = [(tree, [])]
    for node, parents in around:
        if isinstance(node, ast.keyword) and node.arg == "maxsize":
            continue
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, parents
        around += [(child, [*parents, node]) for child in ast.iter_child_nodes(node)]


def mutants(path: Path) -> list[Mutant]:
    """All mutants of a file, in the order of its lines."""
    found = []
    for index, (node, parents) in enumerate(_numbers(ast.parse(path.read_text("utf-8")))):
        value: Any = node.value
        lines, names = _statement_lines(node, parents), _owners(node, parents)
        found.append(Mutant(path, index, node.lineno, value, lines, names))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.index))


def _statement_lines(node: ast.AST, parents: list[ast.AST]) -> frozenset[int]:
    """The lines of the innermost statement, or of the part of a compound one, around a node."""
    path: list[Any] = [*parents, node]
    last = max(i for i, parent in enumerate(path) if isinstance(parent, ast.stmt))
    holder: Any = path[last + 1] if hasattr(path[last], "body") else path[last]
    holder = node if isinstance(holder, ast.arguments) else holder
    return frozenset(range(holder.lineno, holder.end_lineno + 1))


def _owners(node: ast.AST, parents: list[ast.AST]) -> frozenset[str]:
    """The names that an import binds to what is computed with the node; none in a function."""
    path = [*parents, node]
    names: set[str] = set()
    for outer, inner in pairwise(path):
        if isinstance(outer, ast.FunctionDef | ast.ClassDef):
            names.add(outer.name)
        if isinstance(outer, ast.FunctionDef) and inner in outer.body:
            return frozenset()
        names |= _targets(outer)
    return frozenset(names)


def _targets(statement: ast.AST) -> set[str]:
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return set()
    targets = getattr(statement, "targets", None) or [statement.target]  # type: ignore[union-attr]
    return {node.id for part in targets for node in ast.walk(part) if isinstance(node, ast.Name)}


def _used(node: ast.AST) -> set[str]:
    """The names that a node reads, attributes and imported ones too."""
    nodes = list(ast.walk(node))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {
        n.attr for n in nodes if isinstance(n, ast.Attribute)
    }


@cache
def _readers(path: Path) -> list[tuple[set[str], set[str], range]]:
    """Of each constant, class and function of a file: its names, what it reads, and its lines."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            lines = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
            found.append((set[str](), {node.name, *_used(node)}, lines))
        elif isinstance(node, ast.ClassDef):
            found.append((set[str](), {node.name}, range(node.lineno, (node.end_lineno or 0) + 1)))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not node.col_offset:
            found.append((_targets(node), _used(node), range(0)))
    return found


@cache
def used(path: Path) -> set[str]:
    """Return the names that a file reads."""
    return _used(ast.parse(path.read_text("utf-8")))


def users(names: frozenset[str], files: list[Path]) -> set[str]:
    """Return `names` and those of constants made of them."""
    known, size = set(names), 0
    while len(known) > size:
        size = len(known)
        for path in files:
            for bound, used, _ in _readers(path):
                known |= bound if used & known else set()
    return known


def reached_from(names: set[str], files: list[Path]) -> Iterator[tuple[Path, range]]:
    """The functions, as files and lines, that read one of `names`."""
    for path in files:
        yield from ((path, lines) for _, used, lines in _readers(path) if lines and used & names)
