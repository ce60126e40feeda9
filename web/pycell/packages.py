"""The packages of this site: fetched when a cell is going to import them, checked, unpacked.

    source of a cell ── read before it runs ──▶ names ──┐
    `import` of a name that only the run computes ──────┴──▶ the page fetches ──▶ check, unpack

Of our own modules only `unfrozen.lab` imports a package, which tests/house/test_imports.py checks.
What could not be fetched is reported where it is imported: an ImportError in the reader's own line.

The log of the run that the page shows comes the same way, for a cell that names its file.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
import re
import zipfile
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from site import getsitepackages
from types import ModuleType
from typing import Any

from pycell.errors import missing_files

RUN_LOG = "run.jsonl"  # the run that the page shows, in the working folder; as in messages.js
Wait = Callable[[Coroutine[Any, Any, None]], None]
_IMPORTERS = {"import_module", "__import__"}
_NUMPY_LAB = re.compile(r"unfrozen\.lab\.(?!(choices|pulls|tiny|tokenizer)\b)")


class Packages:
    """Finds and loads packages; a finder for `sys.meta_path`."""

    def __init__(
        self,
        names: Collection[str],
        fetch: Callable[[str], Awaitable[str]],
        stopped: Callable[[], bool],
        waiter: Callable[[], Wait | None] = lambda: None,
    ) -> None:
        """Serve `names`; `fetch(name)` makes one importable, or returns the reason why not.

        `stopped()` returns whether the reader has stopped a download of this run, `waiter()` what
        can wait for a coroutine in the middle of an import, where the browser has that.
        """
        self.names = names
        self._fetch = fetch
        self._stopped = stopped
        self._waiter = waiter
        self._refused: dict[str, str] = {}
        self.notice = ""

    async def prepare(self, source: str) -> None:
        """Load what `source` is going to need; raises KeyboardInterrupt when the reader stops it.

        A package that cannot be loaded raises nothing here: its import does, if it is reached, and
        so does opening a log that the page cannot hand over.
        """
        self._refused.clear()
        self.notice = ""
        if RUN_LOG in source:
            missing_files[RUN_LOG] = await self._fetch(RUN_LOG)
            self.stop_notice(RUN_LOG)
            self._raise_if_stopped()
        for name in packages_imported(source, self.names):
            if PathFinder.find_spec(name) is None:
                await self.load(name)
                self._raise_if_stopped()

    async def load(self, name: str) -> None:
        """Make `name` importable, or keep the reason why it is not."""
        reason = await self._fetch(name)
        if reason:
            self._refused[name] = self.stop_notice(name) or reason

    def stop_notice(self, what: str) -> str:
        """Return a sentence if the reader stopped the download of `what`; empty if not.

        Nothing is raised here: a KeyboardInterrupt inside a task would reach the event loop instead
        of the cell.
        """
        if self._stopped():
            self.notice = f"You stopped the download of {what}. Run the cell again to load it."
        return self.notice

    def _raise_if_stopped(self) -> None:
        if self.notice:
            raise KeyboardInterrupt

    def refusal(self, name: str) -> str:
        """Return why a package could not be loaded during this run; empty when nothing is wrong."""
        return self._refused.get(name, "")

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Load a package that the source did not name; raises ImportError with the reason."""
        if path is not None or name not in self.names:
            return None
        wait = None if self.refusal(name) else self._waiter()
        if wait is not None:
            wait(self.load(name))
            self._raise_if_stopped()
        if reason := self.refusal(name):
            raise ImportError(reason, name=name)
        return PathFinder.find_spec(name)


def packages_imported(source: str, packages: Collection[str]) -> list[str]:
    """Return those of `packages` that `source` may import, itself or through `unfrozen.lab`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # the run reports what is wrong
    names = {name for node in ast.walk(tree) for name in _named_by(node)}
    found = {"numpy" if _NUMPY_LAB.match(name) else name.partition(".")[0] for name in names}
    return sorted(found.intersection(packages))


def _named_by(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement or call imports; of `from a import b` `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and _name_of(node.func) in _IMPORTERS:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def _name_of(function: ast.expr) -> str:
    """Return the last name of what is called: `import_module` of `importlib.import_module`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def install(buffer: Any, name: str, sha256: str, size_bytes: int) -> str:
    """Check and unpack the wheel of a package; return why it is refused, or an empty string.

    `buffer` is a JavaScript Uint8Array; `sha256` and `size_bytes` are what the wheel must have.
    """
    wheel = buffer.to_bytes()
    if refusal := refusal_of(wheel, name, sha256, size_bytes):
        return refusal
    unpack(wheel, getsitepackages()[0])
    return ""


def unpack(wheel: bytes, folder: str) -> None:
    """Unpack a wheel into `folder`."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        archive.extractall(folder)
    importlib.invalidate_caches()


def refusal_of(wheel: bytes, name: str, sha256: str, size_bytes: int) -> str:
    """Return what is wrong with a wheel whose sha256 differs; empty when it does not."""
    if hashlib.sha256(wheel).hexdigest() == sha256:
        return ""
    short = len(wheel) != size_bytes
    counted = f"{len(wheel):,} of {size_bytes:,} bytes"
    what = counted if short else "its SHA-256 is not the one this page was built with"
    return (
        f"{name} arrived damaged: {what}. It was discarded. Try again; if that does not help, this "
        "copy of the site is incomplete."
    )
