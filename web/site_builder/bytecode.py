"""Bytecode of what a start imports. Runs in the page's own Python, in Node: see bytecode.mjs.

Standard library only. An archive is one that Python imports from; its modules that have been
imported by now are what a start would otherwise compile again, for every reader and every restart.
"""

from __future__ import annotations

import py_compile
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from zipimport import zipimporter


def write_imported(target: str) -> None:
    """Write `ARCHIVE/MODULE.pyc` for all that was imported from archives into the zip `target`."""
    with zipfile.ZipFile(target, "w") as out, tempfile.TemporaryDirectory() as folder:
        for archive, name in sorted(imported()):
            source = Path(folder, "source.py")
            source.write_bytes(zipfile.ZipFile(archive).read(name))
            out.writestr(f"{Path(archive).name}/{name}c", compiled(source, f"{archive}/{name}"))


def imported() -> Iterator[tuple[str, str]]:
    """Archive and name in it of each module's source."""
    for module in list(sys.modules.values()):
        loader = getattr(module, "__loader__", None)
        if isinstance(loader, zipimporter) and (found := module.__spec__) and found.origin:
            yield loader.archive, found.origin.removeprefix(f"{loader.archive}/")


def compiled(source: Path, told: str) -> bytes:
    """What Python makes of `source`, which says `told` where it is asked for its place.

    Nobody compares it with its source later (PEP 552, unchecked): both come in one archive.
    """
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    into = source.with_suffix(".pyc")
    py_compile.compile(str(source), str(into), told, doraise=True, invalidation_mode=unchecked)
    return into.read_bytes()
