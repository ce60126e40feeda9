"""The Python that the browser downloads: Pyodide, our modules, their bytecode, the demo package.

    node_modules/pyodide ──────── hashes checked ──▶ pyodide/             runtime, standard library
    py/unfrozen, web/pycell ──────────── zipped ──▶ python/unfrozen.zip
    bytecode, by Node ─────── next to each source ──▶ both archives
    memory, in Node ───────────────────── gzip ──▶ python/snapshot.bin
    two files of py/gpu_runner, the demo model ───▶ pyodide/gpu_runner_demo-….whl

Pyodide ships its standard library as source, and compiling it was most of the time to start. The
build therefore starts it once in Node and adds the bytecode of every module imported. The sources
stay: tracebacks show their lines, and `inspect` finds them. Started again with that, its memory is
the snapshot, which a page restores in place of a start.

A cell may `from gpu_runner import demo`, and nothing else of the runner. That package is
downloaded, checked and cached like numpy.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from site_builder import SiteError
from site_builder.compression import transferred_bytes
from site_builder.config import ROOT, project
from site_builder.disk_cache import make_once
from site_builder.formats import mb
from unfrozen.lab.demo import FILES

IN_NODE: Final = Path(__file__).with_name("browser_python.mjs")
RUNTIME: Final = ROOT / "node_modules" / "pyodide"
LIBRARY: Final = "pyodide/python_stdlib.zip"
MODULES: Final = "python/unfrozen.zip"
IMPORTED_AT_START: Final = ("pycell.browser", "pyodide.http", "unfrozen.ask")
"""What workers import before they answer; what cells import later is small."""
DEMO: Final = ROOT / "py" / "gpu_runner" / "demo"
DEMO_PACKAGE: Final = "gpu_runner"
_DEMO_FILES: Final = (
    *("__init__.py", "demo/__init__.py", "demo/card.json"),
    *(f"demo/{name}" for name in FILES),
)
_MOUNTED_AS: Final = {LIBRARY: "python314.zip/", MODULES: "unfrozen.zip/"}  # in `sys.path`
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)  # the first date a zip can hold


@cache
def python_files() -> dict[str, bytes]:
    """Return every file but the worker that starting Python downloads, by path below the site.

    Raises:
        SiteError: a file of the runtime is missing or altered, or Python does not start in Node.
    """
    modules = {name: path.read_bytes() for name, path in python_sources()}
    files = {**_runtime_files(), MODULES: _zip(modules)}
    bytecode = _bytecode(files[LIBRARY], files[MODULES])
    for path, top in _MOUNTED_AS.items():
        compiled = {n.removeprefix(top): data for n, data in bytecode.items() if n.startswith(top)}
        files[path] = _zip(compiled, files[path])
    return files


@cache
def snapshot() -> bytes:
    """Return the memory of an interpreter that has imported what workers import, by gzip.

    A page fetches it beside `python_files` where that is faster than to start without.
    """
    files = python_files()
    inputs = [*files.values(), IN_NODE.read_bytes(), repr(IMPORTED_AT_START).encode()]
    inputs.append(_run_node(["--version"]).encode())
    return make_once(b"".join(inputs), lambda: _snapshot(files[LIBRARY], files[MODULES]))


def _snapshot(library: bytes, modules: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("library.zip", "modules.zip", "memory.bin")]
        for path, data in zip(paths, (library, modules), strict=False):
            Path(path).write_bytes(data)
        waits = _run_node(["--print", "'Suspending' in WebAssembly"]).strip() == "true"
        flags = [] if waits else ["--experimental-wasm-jspi"]  # as browsers have it
        _run_node([*flags, str(IN_NODE), "snapshot", *paths, *IMPORTED_AT_START])
        return gzip.compress(Path(paths[-1]).read_bytes(), 9, mtime=0)


@cache
def python_bytes() -> tuple[int, int]:
    """Return the bytes of `python_files`: from a host that compresses, and from any other."""
    files = python_files().values()
    return transferred_bytes(files), sum(map(len, files))


def first_bytes(total: int) -> str:
    """Return what a first start loads, `total` bytes and on a fast connection the snapshot."""
    return f"{total / 1e6:.0f}–{mb(round(total + len(snapshot()), -6))}"


def python_hash() -> str:
    """Return a short hash of all that starts Python: a page and its worker must have the same."""
    scripts = {path.name: path.read_bytes() for path in (ROOT / "web" / "python").glob("*.js")}
    files = sorted((python_files() | scripts).items())
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for _, data in files))
    return digest.hexdigest()[:16]


def progress_bytes() -> dict[str, int]:
    """Return the size by name of the files whose download the page counts."""
    return {
        Path(path).name: len(data)
        for path, data in python_files().items()
        if path.endswith((".wasm", ".zip"))
    }


def archive_checksums() -> dict[str, int]:
    """Return for each archive the sum of its files' CRC-32, modulo 2³², which packing leaves alone.

    The wheel stores unpacked what the site packs.
    """
    return {
        Path(path).name: sum(one.CRC for one in zipfile.ZipFile(io.BytesIO(data)).infolist())
        % 2**32
        for path, data in python_files().items()
        if path.endswith(".zip")
    }


def python_sources() -> Iterator[tuple[str, Path]]:
    """Yield the name in the archive and the path of every file of our own that Python imports."""
    for package, under in (("unfrozen", "py/unfrozen"), ("pycell", "web/pycell")):
        folder = ROOT / under
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".json", ".toml"} and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(folder).as_posix()}", path


def _runtime_files() -> dict[str, bytes]:
    """Return the files listed in `pyodide.sha256` (a list for `sha256sum -c`), each checked."""
    files = {}
    for line in Path(__file__).with_name("pyodide.sha256").read_text().splitlines():
        expected, name = line.split()
        path = RUNTIME / name
        data = path.read_bytes() if path.is_file() else b""
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            problem = f"has sha256 {found}, pyodide.sha256 says {expected}; run `npm ci` again"
            raise SiteError(f"node_modules/pyodide/{name}", problem)
        # Many hosts give a browser no script under the other ending.
        files[f"pyodide/{path.with_suffix('.js').name if path.suffix == '.mjs' else name}"] = data
    return files


def _zip(files: Mapping[str, bytes], archive: bytes = b"") -> bytes:
    """Return an archive with further files, without dates or owners: a reproducible build.

    Weights hardly compress, and stored as they are, our wheel can share them with the runner.
    """
    target = io.BytesIO(archive)
    with zipfile.ZipFile(target, "a") as out:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _OLDEST)
            is_stored = name.endswith(".safetensors")
            entry.compress_type = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            out.writestr(entry, data)
    return target.getvalue()


def _bytecode(library: bytes, modules: bytes) -> dict[str, bytes]:
    """Return the bytecode of two archives; compiled again when something has changed."""
    scripts = [IN_NODE.read_bytes(), IN_NODE.with_name("bytecode.py").read_bytes()]
    inputs = [library, modules, *scripts]
    inputs.append(repr(IMPORTED_AT_START).encode())
    made = make_once(b"".join(inputs), partial(_compile, modules))
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _compile(modules: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "modules.zip"), Path(folder, "bytecode.zip")
        given.write_bytes(modules)
        _run_node([str(IN_NODE), "bytecode", str(given), str(made), *IMPORTED_AT_START])
        return made.read_bytes()


def _run_node(arguments: list[str]) -> str:
    node = os.environ.get("UNFROZEN_NODE", "node")
    done = subprocess.run([node, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError(f"web/site_builder/{IN_NODE.name}", done.stderr.strip().rpartition("\n")[2])
    return done.stdout


@cache
def demo_wheel() -> bytes:
    """Return the wheel that gives cells `gpu_runner.demo`: the demo model and what finds it."""
    info = f"{DEMO_PACKAGE}_demo-{project().version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {DEMO_PACKAGE}\nVersion: {project().version}\n"
    files = {f"{DEMO_PACKAGE}/{name}": (DEMO.parent / name).read_bytes() for name in _DEMO_FILES}
    return _zip(files | {f"{info}/METADATA": about.encode()})


def write_demo_wheel(folder: Path) -> dict[str, Any]:
    """Write the wheel into `folder`; return its entry for a lock of packages, with its size."""
    version, data = project().version, demo_wheel()
    name = f"{DEMO_PACKAGE}_demo-{version}-py3-none-any.whl"
    (folder / name).write_bytes(data)
    return {
        "depends": [],
        "file_name": name,
        "imports": [DEMO_PACKAGE],
        "install_dir": "site",
        "name": DEMO_PACKAGE,
        "package_type": "package",
        "sha256": hashlib.sha256(data).hexdigest(),
        "unvendored_tests": False,
        "version": version,
        "bytes": len(data),
    }
