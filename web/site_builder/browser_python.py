"""The page's Python: Pyodide as it was published, our own modules, and the bytecode of both.

    node_modules/pyodide ──────── checked ──▶ pyodide/                 the runtime and its library
    py/unfrozen, web/pycell ────── packed ──▶ python/unfrozen.zip
    .cache/bytecode.zip ── beside sources ──▶ both archives

Pyodide's library comes as source, and compiling what a start imports was most of a start. So the
build starts it once in Node and puts what it compiled beside each source, which stays: a traceback
shows its lines, and `inspect` finds it.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from site_builder.errors import SiteError

ROOT: Final = Path(__file__).resolve().parents[2]
RUNTIME: Final = ROOT / "node_modules" / "pyodide"
LIBRARY: Final = "pyodide/python_stdlib.zip"
OURS: Final = "python/unfrozen.zip"
STARTED: Final = ("pycell.browser", "unfrozen.ask")
"""What workers import before they answer; what cells import besides is small."""
KEPT: Final = ROOT / ".cache" / "bytecode.zip"
_ARCHIVES: Final = {LIBRARY: "python314.zip/", OURS: "unfrozen.zip/"}  # as a running Python says
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)  # the first date a zip can carry


@cache
def python_files() -> dict[str, bytes]:
    """Every file that a start of Python fetches, but the worker, by its path below the site.

    Raises:
        SiteError: a file of the runtime is missing or altered, or Python does not start in Node.
    """
    ours = {name: path.read_bytes() for name, path in python_sources()}
    files = {**_runtime(), OURS: _packed(b"", ours)}
    bytecode = _bytecode(files[LIBRARY], files[OURS])
    for path, top in _ARCHIVES.items():
        mine = {n.removeprefix(top): data for n, data in bytecode.items() if n.startswith(top)}
        files[path] = _packed(files[path], mine)
    return files


def counted_bytes() -> dict[str, int]:
    """Sizes of those files whose arrival the page counts, by name."""
    counted = {path: data for path, data in python_files().items() if path.startswith("pyodide/")}
    return {
        Path(path).name: len(data)
        for path, data in counted.items()
        if path.endswith((".wasm", ".zip"))
    }


def python_sources() -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of every file the browser's Python imports."""
    for package, under in (("unfrozen", "py/unfrozen"), ("pycell", "web/pycell")):
        folder = ROOT / under
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".json"} and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(folder).as_posix()}", path


def _runtime() -> dict[str, bytes]:
    """The files that `pyodide.sha256` lists (`sha256sum -c` reads it too), each as it says."""
    files = {}
    for line in Path(__file__).with_name("pyodide.sha256").read_text().splitlines():
        expected, name = line.split()
        path = RUNTIME / name
        data = path.read_bytes() if path.is_file() else b""
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            problem = f"has sha256 {found}, pyodide.sha256 says {expected}; run `npm ci` again"
            raise SiteError(f"node_modules/pyodide/{name}", problem)
        files[f"pyodide/{name}"] = data
    return files


def _packed(archive: bytes, files: Mapping[str, bytes]) -> bytes:
    """An archive with further files, without clock or owner: the same files give the same bytes."""
    target = io.BytesIO(archive)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            out.writestr(entry, data)
    return target.getvalue()


def _bytecode(library: bytes, ours: bytes) -> dict[str, bytes]:
    """The bytecode of two archives, compiled unless they are those of the last build."""
    script = Path(__file__).with_name("bytecode.mjs")
    made_of = [library, ours, script.read_bytes(), script.with_suffix(".py").read_bytes()]
    digest = hashlib.sha256(b"".join(made_of) + repr(STARTED).encode()).hexdigest().encode()
    if not KEPT.is_file() or zipfile.ZipFile(KEPT).comment != digest:
        KEPT.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT.parent) as folder:
            given, made = Path(folder, "ours.zip"), Path(folder, "made.zip")
            given.write_bytes(ours)
            _compile([str(script), str(given), str(made), *STARTED])
            with zipfile.ZipFile(made, "a") as archive:
                archive.comment = digest
            made.replace(KEPT)
    with zipfile.ZipFile(KEPT) as kept:
        return {name: kept.read(name) for name in kept.namelist()}


def _compile(arguments: list[str]) -> None:
    node = os.environ.get("UNFROZEN_NODE", "node")
    done = subprocess.run([node, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError("web/site_builder/bytecode.mjs", done.stderr.strip().rpartition("\n")[2])
