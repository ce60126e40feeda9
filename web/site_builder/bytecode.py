"""Compiles what starting Python imports. Runs in the page's own Python: see browser_python.mjs.

Standard library only. Python imports from zip archives here; without bytecode, each module that has
been imported would be compiled again for every reader and at every restart.
"""

from __future__ import annotations

import py_compile
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from zipimport import zipimporter


def write_bytecode(target: str) -> None:
    """Write `ARCHIVE/MODULE.pyc` of every module imported from an archive into the zip `target`."""
    with zipfile.ZipFile(target, "w") as out, tempfile.TemporaryDirectory() as folder:
        opened = cache(zipfile.ZipFile)
        for archive, name in sorted(_imported_sources()):
            source = Path(folder, "source.py")
            source.write_bytes(opened(archive).read(name))
            out.writestr(f"{Path(archive).name}/{name}c", _compile(source, f"{archive}/{name}"))


def _imported_sources() -> Iterator[tuple[str, str]]:
    """Yield the archive of each imported module, and the name of its source there."""
    for module in list(sys.modules.values()):
        loader = getattr(module, "__loader__", None)
        if isinstance(loader, zipimporter) and (found := module.__spec__) and found.origin:
            yield loader.archive, found.origin.removeprefix(f"{loader.archive}/")


def _compile(source: Path, filename: str) -> bytes:
    """Return the bytecode of `source`; tracebacks will name `filename`.

    Python will not compare it with the source (PEP 552, unchecked): both are in one archive.
    """
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    target = source.with_suffix(".pyc")
    py_compile.compile(
        str(source), str(target), filename, doraise=True, invalidation_mode=unchecked
    )
    return target.read_bytes()
