"""Everything of the site that is not the page: scripts, styles, fonts, Python for the browser.

Names carry a hash of their content, so a browser may keep them for ever. The same input gives the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from press.errors import PressError
from unfrozen import memory_planner, method_decision

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
ENTRIES = {"main": "web/main.js", "style": "web/style/index.css"}
THEME = "web/widgets/theme-first.js"
PRELOADED_FONT = "source-serif-4-latin-wght-normal"
PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the first date a zip can carry


@dataclass(frozen=True)
class Assets:
    """Paths of the bundled files the page names, relative to the site's top."""

    main: str
    style: str
    theme: str
    font: str


def write_assets(out: Path) -> Assets:
    """Write all assets below `out`. Raises PressError when a source is missing or altered."""
    assets = _bundle(out)
    _bundle_worker(out)
    _copy_pyodide(out / "pyodide")
    _zip_python(out / "python" / "unfrozen.zip")
    _copy_recordings(out / "recordings")
    _write_view(out / "planner.json", memory_planner.view({}))
    _write_view(out / "decision.json", method_decision.view({}))
    shutil.copy(WEB / "style" / "favicon.svg", out / "favicon.svg")
    return assets


def _esbuild(arguments: list[str], out: Path) -> dict[str, Any]:
    """Run esbuild from the repository's top and return its metafile."""
    program = next(ROOT.glob("node_modules/@esbuild/*/**/esbuild*"), None)  # no Node in between
    if program is None:
        problem = "esbuild is not installed; run `npm ci` or `python3 build.py build`"
        raise PressError("node_modules", problem)
    metafile = out / ".metafile.json"
    command = [str(program), *arguments, "--bundle", "--minify", "--log-level=warning"]
    command += ["--target=es2022,chrome111,firefox115,safari16.4", f"--metafile={metafile}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PressError("esbuild", done.stderr.strip())
    outputs: dict[str, Any] = json.loads(metafile.read_text())["outputs"]
    metafile.unlink()
    return outputs


def _bundle(out: Path) -> Assets:
    """Bundle scripts (in chunks, CodeMirror in its own), styles and the fonts they name."""
    into = [f"--outdir={out / 'assets'}", "--loader:.woff2=file"]
    into += [f"--{kind}-names=[name]-[hash]" for kind in ("entry", "chunk", "asset")]
    entries = [f"{name}={path}" for name, path in ENTRIES.items()]
    outputs = _esbuild([*entries, "--splitting", "--format=esm", *into], out)
    outputs |= _esbuild(
        [f"theme={THEME}", "--format=iife", *into], out
    )  # a plain script blocks paint
    built = {output.get("entryPoint"): Path(path).name for path, output in outputs.items()}
    fonts = [Path(path).name for path in outputs if PRELOADED_FONT in path]
    if len(fonts) != 1:
        raise PressError("web/style/fonts.css", f"must name {PRELOADED_FONT} once; found {fonts}")
    named = {name: f"assets/{built[path]}" for name, path in (ENTRIES | {"theme": THEME}).items()}
    return Assets(font=f"assets/{fonts[0]}", **named)


def _bundle_worker(out: Path) -> None:
    """Bundle the Python worker under a fixed name: its own Content-Security-Policy hangs on it."""
    _esbuild(
        ["web/python/worker.js", "--format=esm", f"--outfile={out / 'python' / 'worker.js'}"], out
    )


def _copy_pyodide(folder: Path) -> None:
    """Copy the runtime, each file against its known sha256, and a lock that names no package."""
    source = ROOT / "node_modules" / "pyodide"
    folder.mkdir(parents=True, exist_ok=True)
    expected = _checksums()
    for name in PYODIDE_FILES:
        data = (source / name).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != expected.get(name):
            problem = (
                f"has sha256 {found}, pyodide.sha256 says {expected.get(name)}; run `npm ci` again"
            )
            raise PressError(f"node_modules/pyodide/{name}", problem)
        (folder / name).write_bytes(data)
    lock = json.loads((source / "pyodide-lock.json").read_text())
    empty = {"info": lock["info"], "packages": {}}  # 119 kB less than the catalogue of all packages
    (folder / "pyodide-lock.json").write_text(json.dumps(empty, sort_keys=True))


def _checksums() -> dict[str, str]:
    """Read `pyodide.sha256`, which `sha256sum -c` reads too."""
    lines = Path(__file__).with_name("pyodide.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def python_sources() -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of every file the browser's Python imports."""
    for package, folder in (("unfrozen", ROOT / "py" / "unfrozen"), ("pycell", WEB / "pycell")):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".json"} and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(folder).as_posix()}", path


def _zip_python(target: Path) -> None:
    """Pack our Python, without clock or owner in it: the same sources give the same archive."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in python_sources():
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def _copy_recordings(folder: Path) -> None:
    """Copy the recorded runs and their list (made by `python -m gpu_runner.demo.record`)."""
    folder.mkdir(parents=True, exist_ok=True)
    source = WEB / "recordings"
    listed = json.loads((source / "index.json").read_text(encoding="utf-8"))
    for name in ("index.json", *(recording["file"] for recording in listed)):
        shutil.copy(source / name, folder / name)


def _write_view(target: Path, view: dict[str, object]) -> None:
    """Write an element's first view: it reads that when a reader comes near."""
    text = json.dumps(view, ensure_ascii=False, separators=(",", ":"))
    target.write_text(text, encoding="utf-8")
