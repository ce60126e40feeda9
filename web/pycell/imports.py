"""Which packages a cell is going to import, read from its source before it runs.

The source of every module that the cell imports is read too, as far as it is Python: a library
that imports numpy in some corner asks for it as much as the cell itself does. Nothing is imported
for it. Names that only come about while the cell runs cannot be seen here.

Of our own modules only `unfrozen.lab` may import a package, which tests/house/test_imports.py keeps
so: taking the others apart would cost a second for nothing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name

_IMPORTERS = {"import_module", "__import__"}
_OURS = re.compile(r"unfrozen(?!\.lab\b)(\.|$)")  # those that import no package


def packages_imported(source: str, packages: Collection[str]) -> list[str]:
    """Those of `packages` that running `source` may import, at once or by way of other modules.

    What lies within a package of the list is not read: what it needs, its wheel says.
    """
    found: dict[str, None] = {}
    seen: set[str] = set()
    todo = list(_modules_named(source))
    while todo:
        name = todo.pop()
        top = name.partition(".")[0]
        if top in packages:
            found[top] = None
        elif not (name in seen or top in sys.stdlib_module_names or _OURS.match(name)):
            seen.add(name)
            todo += _imports_of(name)
    return sorted(found)


def _imports_of(module: str) -> tuple[str, ...]:
    """What a module that is found names in its imports; nothing when its source is not Python."""
    spec = _spec(module)
    get_source = getattr(spec and spec.loader, "get_source", None)
    if spec is None or get_source is None:
        return ()
    try:
        source = get_source(module) or ""
    except (ImportError, OSError, SyntaxError, UnicodeError):
        return ()
    package = module if spec.submodule_search_locations is not None else spec.parent or ""
    return _modules_named(source, package)


def _spec(module: str) -> ModuleSpec | None:
    """Find a module without importing the packages around it."""
    parent = module.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(module)
    around = _spec(parent)
    try:
        places = list((around and around.submodule_search_locations) or [])
    except KeyError:  # a namespace within a package that is not imported
        return None
    return PathFinder.find_spec(module, places) if places else None


@lru_cache(maxsize=512)  # a library is not taken apart again for every run of a cell
def _modules_named(source: str, package: str = "") -> tuple[str, ...]:
    """Full names of the modules that `source`, a part of `package`, imports wherever it does so."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()  # running it tells what is wrong with it
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        for name in _named_by(node, package):
            parts = name.split(".")
            found |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return tuple(found)


def _named_by(node: ast.AST, package: str) -> Iterator[str]:
    """Names that one statement or call imports; of `from a import b` also `a.b`, may it be one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        name = "." * node.level + (node.module or "")
        try:
            base = resolve_name(name, package) if node.level else name
        except ImportError:  # further up than the package goes
            return
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and _name_of(node.func) in _IMPORTERS:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value:
            yield first.value


def _name_of(function: ast.expr) -> str:
    """The last word of what is called: `import_module` of `importlib.import_module`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
