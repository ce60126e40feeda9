"""Everything of the site that is not the page: scripts, styles, fonts, Python for the browser.

Names carry a hash of their content, so a browser may keep them for ever. The same input gives the
same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from site_builder import demo_wheel, wheels
from site_builder.browser_python import counted_bytes, python_files
from site_builder.errors import SiteError
from site_builder.fonts import PRELOADED, licences, write_fonts
from site_builder.formats import mb
from site_builder.widgets import WEB, WIDGETS, loader_script
from unfrozen.lab.demo import FILES
from unfrozen.schema.event_log import MAX_LINE_LENGTH

ROOT = Path(__file__).resolve().parents[2]
MAIN = "web/main.js"
STYLE_LAYERS = ("base", "components", "parts", "print")
FONT_LICENCES = "font-licences.txt"
THEME = "web/page/theme-first.js"
WORKER = "python/worker"
DEMO = ROOT / "py" / "gpu_runner" / "demo"


@dataclass(frozen=True)
class Assets:
    """Paths of the bundled files the page names, relative to its top; its Python, in words."""

    main: str
    style: str
    theme: str
    fonts: tuple[str, ...]
    python: str = ""
    cost: str = ""


def write_assets(out: Path) -> Assets:
    """Write all assets below `out`. Raises SiteError when a source is missing or altered."""
    _write_python(out)
    packages = _copy_wheels(out / "pyodide")
    known = _defined(PACKAGES=packages, DEMO=_copy_demo(out / "demo"))
    assets = _bundle(out, known)
    _bundle_worker(out, known)
    _assemble(out / "python" / "product.wasm")
    _copy_recordings(out / "recordings")
    for widget in WIDGETS:
        if widget.python and not widget.inline:
            _write_view(out / f"{widget.block}.json", widget.first_view())
    shutil.copy(WEB / "style" / "favicon.svg", out / "favicon.svg")
    (out / FONT_LICENCES).write_text(licences(), encoding="utf-8")
    worker = (out / "python" / "worker.js").stat().st_size
    first = worker + sum(map(len, python_files().values()))
    return replace(
        assets,
        python=_about_python(first, packages["numpy"]["bytes"]),
        cost=f"The first Run loads {mb(first)}",
    )


def _write_python(out: Path) -> None:
    for path, data in python_files().items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)


def _about_python(first_bytes: int, numpy_bytes: int) -> str:
    """Which Python runs the cells, and what the browser fetches for it."""
    pyodide = json.loads((ROOT / "node_modules" / "pyodide" / "package.json").read_text())[
        "version"
    ]
    version = wheels.lock()["info"]["python"].rpartition(".")[0]
    return (
        f"Cells run Python {version} in your browser (Pyodide {pyodide}): "
        f"the first Run fetches {mb(first_bytes)}, import numpy {mb(numpy_bytes)} more."
    )


def style_sheet(top: str = str(WEB / "style")) -> str:
    """Return a style sheet that imports every file below `top`, in the order of the layers."""
    names = [
        f"{layer}/{path.name}"
        for layer in STYLE_LAYERS
        for path in sorted((WEB / "style" / layer).glob("*.css"))
    ]
    imports = [f'@import "{top}/{name}" layer({name.partition("/")[0]});' for name in names]
    return "\n".join([f"@layer {', '.join(STYLE_LAYERS)};", *imports, ""])


def _esbuild(arguments: list[str], out: Path) -> dict[str, Any]:
    """Run esbuild from the repository's top and return its metafile."""
    program = next(ROOT.glob("node_modules/@esbuild/*/**/esbuild*"), None)  # no Node in between
    if program is None:
        problem = "esbuild is not installed; run `npm ci` or `python3 build.py build`"
        raise SiteError("node_modules", problem)
    metafile = out / ".metafile.json"
    command = [str(program), *arguments, "--bundle", "--minify", "--log-level=warning"]
    command += ["--target=es2022,chrome111,firefox115,safari16.4", f"--metafile={metafile}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError("esbuild", done.stderr.strip())
    outputs: dict[str, Any] = json.loads(metafile.read_text())["outputs"]
    metafile.unlink()
    return outputs


def _bundle(out: Path, known: list[str]) -> Assets:
    """Bundle scripts (in chunks, CodeMirror in its own), styles and the fonts they name.

    `known` are options for esbuild: names in the sources, by what they become.
    """
    faces = out / ".faces"
    write_fonts(faces)
    into = [f"--outdir={out / 'assets'}", "--loader:.woff2=file", f"--alias:faces={faces}"]
    into += [f"--{kind}-names=[name]-[hash]" for kind in ("entry", "chunk", "asset")]
    loaders = ROOT / ".cache" / "widgets.js"  # where it lies is part of the hash of its chunk
    loaders.parent.mkdir(exist_ok=True)
    loaders.write_text(loader_script(WIDGETS), encoding="utf-8")
    into.append(f"--alias:widgets={loaders}")
    style = out / ".style.css"
    style.write_text(f'{style_sheet()}@import "faces/faces.css";\n', encoding="utf-8")
    entries = {"main": MAIN, "style": os.path.relpath(style, ROOT), "theme": THEME}
    scripts = [f"{name}={entries[name]}" for name in ("main", "style")]
    outputs = _esbuild([*scripts, "--splitting", "--format=esm", *known, *into], out)
    outputs |= _esbuild(
        [f"theme={THEME}", "--format=iife", *into], out
    )  # a plain script blocks paint
    built = {output.get("entryPoint"): Path(path).name for path, output in outputs.items()}
    named = {name: f"assets/{built[path]}" for name, path in entries.items()}
    shutil.rmtree(faces)
    style.unlink()
    files = {
        name: f"assets/{Path(path).name}"
        for path, output in outputs.items()
        if path.endswith(".woff2")
        for name in (Path(given).name for given in output["inputs"])
    }
    return Assets(fonts=tuple(files[f"{name}.woff2"] for name in PRELOADED), **named)


def _bundle_worker(out: Path, known: list[str]) -> None:
    """Bundle the worker under a fixed name: its own Content-Security-Policy hangs on it."""
    target = out / f"{WORKER}.js"
    _esbuild([f"web/{WORKER}.js", "--format=esm", *known, f"--outfile={target}"], out)


def _defined(**values: Any) -> list[str]:
    """Options for esbuild: names in the sources become what the site carries.

    `PACKAGES`, `DEMO`, `RUNTIME_BYTES` and `MAX_LINE_LENGTH`: no such list is kept by hand.
    """
    values["MAX_LINE_LENGTH"] = MAX_LINE_LENGTH
    values["RUNTIME_BYTES"] = counted_bytes()
    return [f"--define:{name}={json.dumps(value)}" for name, value in values.items()]


def _copy_demo(folder: Path) -> dict[str, Any]:
    """Copy the demo model and its rows, which the page fine-tunes; hash and size of each file."""
    card = json.loads((DEMO / "card.json").read_text(encoding="utf-8"))["sha256"]
    listed = {}
    for name in FILES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((DEMO / name).read_bytes())
        listed[name] = {"sha256": card[name], "bytes": target.stat().st_size}
    return listed


def _assemble(target: Path) -> None:
    """Assemble the lab's matrix products; SiteError with line and column where they are wrong."""
    node = os.environ.get("UNFROZEN_NODE", "node")
    script = [node, str(Path(__file__).with_name("wat.mjs")), str(WEB / "python" / "product.wat")]
    done = subprocess.run([*script, str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError("web/python/product.wat", done.stderr.strip())


def _copy_wheels(folder: Path) -> dict[str, Any]:
    """Copy what cells may import, with a lock of Pyodide's part of it; all of its packages."""
    lock = wheels.lock()  # of Pyodide's, 119 kB less than its catalogue of all packages
    packages = {}
    for name, entry in lock["packages"].items():
        data = wheels.read_wheel(entry)
        if data is None:
            problem = "is missing or damaged; remove .cache/wheels and run `python3 build.py build`"
            raise SiteError(f".cache/wheels/{entry['file_name']}", problem)
        (folder / entry["file_name"]).write_bytes(data)
        packages[name] = entry | {"bytes": len(data)}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock, sort_keys=True))
    return packages | {demo_wheel.NAME: demo_wheel.write_wheel(folder)}


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
