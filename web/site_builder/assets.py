"""Every file of the site but the pages: scripts, styles, fonts, Python, the service worker.

Bundled files have a hash of their content in their name, so that browsers may cache them for ever.
The same input gives the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from site_builder import SiteError, wheels
from site_builder.browser_python import (
    DEMO,
    DEMO_PACKAGE,
    archive_checksums,
    first_bytes,
    progress_bytes,
    python_bytes,
    python_files,
    python_hash,
    snapshot,
    write_demo_wheel,
)
from site_builder.common_plans import write_common_plans
from site_builder.compression import transferred_bytes
from site_builder.config import EMBEDS, PAGES, ROOT, WEB, WIDGETS, Page, widget_loaders
from site_builder.fonts import PRELOADED, write_fonts
from site_builder.formats import mb
from site_builder.third_party import NOTICES, SBOM, components, notices, sbom
from unfrozen.answer.shapes import schemas
from unfrozen.lab.demo import FILES
from unfrozen.schema import policy
from unfrozen.schema.event_log import MAX_LINE_LENGTH
from unfrozen.schema.offline import SERVICE_WORKER, SNAPSHOT, with_list

STYLE_LAYERS: Final = ("base", "components", "parts", "print")
SCRIPTS: Final = {page.script: f"web/{page.script}" for page in (*PAGES, *EMBEDS)}
PARTS: Final = {page.parts: f"style-{i}" for i, page in enumerate((*PAGES, *EMBEDS))}
"""The style sheets by the parts of web/style that they hold, None for all of them."""
THEME: Final = "web/page/theme-first.js"
WORKER: Final = "python/worker.js"
LOADER: Final = "python/loader.js"
_PACKAGE: Final = re.compile(r"node_modules/((?:@[^/]+/)?[^/]+)/")


@dataclass(frozen=True)
class Assets:
    """What the template of a page needs: paths of bundled files in the site, and notes.

    `scripts` holds them by the name in web/pages.toml. A style sheet is no file: it stands in each
    page, which is painted as it arrives; `styles` has them by their parts. `python` says which
    Python runs the cells, `cost_…` what the first Run downloads: from a host that compresses, and
    from any other.
    """

    scripts: dict[str, str]
    styles: dict[tuple[str, ...] | None, str]
    theme: str
    fonts: tuple[str, ...]
    python: str = ""
    cost_compressed: str = ""
    cost_plain: str = ""

    def style_of(self, page: Page) -> str:
        """Return the style sheet as it stands in a page."""
        return self.styles[page.parts].replace('url("./', f'url("{page.link_to("assets/")}')


def defines(packages: object) -> dict[str, object]:
    """Return what is written into every script in place of a name."""
    return {
        "PACKAGES": packages,
        "MAX_LINE_LENGTH": MAX_LINE_LENGTH,
        "RUNTIME_BYTES": progress_bytes(),
        "ARCHIVES": archive_checksums(),
        "PYTHON_HASH": python_hash(),
    }


def write_schemas(folder: Path) -> None:
    """Write the JSON Schemas of jobs and answers, a file each: `schema/job.json`."""
    folder.mkdir()
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(json.dumps(schema), encoding="utf-8")


def write_assets(out: Path, version: str) -> Assets:
    """Write all assets below `out`; raises SiteError when a source is missing or altered."""
    for path, data in python_files().items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)
    (out / SNAPSHOT).write_bytes(snapshot())
    packages = _copy_wheels(out / "pyodide")
    given = defines(packages) | {"DEMO": _copy_demo(out / "demo")}
    options = [f"--define:{name}={json.dumps(value)}" for name, value in given.items()]
    assets, bundled = _bundle(out, options)
    # Fixed names: the server sends the first with a Content-Security-Policy of its own.
    for worker in (WORKER, LOADER):
        _esbuild([f"web/{worker}", "--format=esm", *options, f"--outfile={out / worker}"], out)
    _assemble(WEB / "python" / "matmul.wat", out / "python" / "matmul.wasm")
    _copy_recordings(out / "recordings")
    for widget in WIDGETS:
        if widget.python and not widget.inline:
            text = json.dumps(widget.first_view(), ensure_ascii=False, separators=(",", ":"))
            (out / f"{widget.block}.json").write_text(text, encoding="utf-8")
    write_common_plans(out)
    write_schemas(out / "schema")
    shutil.copy(WEB / "style" / "favicon.svg", out / "favicon.svg")
    shutil.copytree(WEB / "pictures", out / "pictures")
    shipped = components(bundled)
    (out / NOTICES).write_text(notices(shipped), encoding="utf-8")
    (out / SBOM).write_text(sbom(shipped, version), encoding="utf-8")
    workers = [(out / worker).read_bytes() for worker in (WORKER, LOADER)]
    packed, plain = python_bytes()
    first_run = packed + transferred_bytes(workers), plain + sum(map(len, workers))
    return replace(
        assets,
        python=_python_note(first_run, packages["numpy"]["bytes"]),
        cost_compressed=f"First Run: {first_bytes(first_run[0])}",
        cost_plain=f"First Run: {first_bytes(first_run[1])}",
    )


def _python_note(first_run_bytes: tuple[int, int], numpy_bytes: int) -> str:
    package = json.loads((ROOT / "node_modules" / "pyodide" / "package.json").read_text())
    version = wheels.read_lock()["info"]["python"].rpartition(".")[0]
    packed, plain = map(mb, first_run_bytes)
    return (
        f"Cells run Python {version} in your browser (Pyodide {package['version']}): the first Run"
        f" fetches {packed} where the host compresses, {plain} where it does not, and on a fast"
        f" connection {mb(len(snapshot()))} more to start sooner;"
        f" import numpy {mb(numpy_bytes)} more."
    )


def style_sheet(parts: Container[str] | None = None, top: str = str(WEB / "style")) -> str:
    """Return a style sheet that imports the files below `top`, in the order of the layers; of
    style/parts those that are named, or all.
    """
    names = [
        f"{layer}/{path.name}"
        for layer in STYLE_LAYERS
        for path in sorted((WEB / "style" / layer).glob("*.css"))
        if layer != "parts" or parts is None or path.stem in parts
    ]
    imports = [f'@import "{top}/{name}" layer({name.partition("/")[0]});' for name in names]
    return "\n".join([f"@layer {', '.join(STYLE_LAYERS)};", *imports, ""])


def _esbuild(arguments: list[str], out: Path) -> dict[str, Any]:
    """Run esbuild in the repository's root and return the outputs of its metafile."""
    program = next(ROOT.glob("node_modules/@esbuild/*/**/esbuild*"), None)  # not through Node
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


def _bundle(out: Path, options: list[str]) -> tuple[Assets, set[str]]:
    """Bundle scripts (in chunks), styles and the fonts that these name.

    Returns their paths, and the npm packages that they contain.
    """
    faces = out / ".faces"
    write_fonts(faces)
    into = [f"--outdir={out / 'assets'}", "--loader:.woff2=file", f"--alias:faces={faces}"]
    into += [f"--{kind}-names=[name]-[hash]" for kind in ("entry", "chunk", "asset")]
    loaders = ROOT / ".cache" / "widgets.js"  # its path is part of the hash of its chunk
    loaders.parent.mkdir(exist_ok=True)
    loaders.write_text(widget_loaders(), encoding="utf-8")
    into.append(f"--alias:widgets={loaders}")
    sheets = {parts: out / f".{name}.css" for parts, name in PARTS.items()}
    modules = [f"{Path(name).stem}={source}" for name, source in SCRIPTS.items()]
    for parts, sheet in sheets.items():
        sheet.write_text(f'{style_sheet(parts)}@import "faces/faces.css";\n', encoding="utf-8")
        modules.append(f"{PARTS[parts]}={os.path.relpath(sheet, ROOT)}")
    outputs = _esbuild([*modules, "--splitting", "--format=esm", *options, *into], out)
    # A classic script blocks the first paint, which would otherwise have the wrong theme.
    outputs |= _esbuild([f"theme={THEME}", "--format=iife", *into], out)
    built = {o.get("entryPoint"): f"assets/{Path(path).name}" for path, o in outputs.items()}
    scripts = {name: built[source] for name, source in SCRIPTS.items()}
    shutil.rmtree(faces)
    styles = {}
    for parts, sheet in sheets.items():
        bundle = out / built[os.path.relpath(sheet, ROOT)]
        styles[parts] = bundle.read_text(encoding="utf-8").strip()
        sheet.unlink()
        bundle.unlink()
    fonts = {
        Path(source).name: f"assets/{Path(path).name}"
        for path, output in outputs.items()
        if path.endswith(".woff2")
        for source in output["inputs"]
    }
    inputs = (source for output in outputs.values() for source in output["inputs"])
    bundled = {match[1] for match in map(_PACKAGE.search, inputs) if match}
    preloaded = tuple(fonts[f"{name}.woff2"] for name in PRELOADED)
    return Assets(scripts, styles, built[THEME], preloaded), bundled


def _copy_demo(folder: Path) -> dict[str, Any]:
    """Copy the demo model and its data, which the page fine-tunes; return hashes and sizes."""
    hashes = json.loads((DEMO / "card.json").read_text(encoding="utf-8"))["sha256"]
    files = {}
    for name in FILES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((DEMO / name).read_bytes())
        files[name] = {"sha256": hashes[name], "bytes": target.stat().st_size}
    return files


def _assemble(source: Path, target: Path) -> None:
    """Assemble a WebAssembly text file; raises SiteError with line and column of a mistake."""
    node = os.environ.get("UNFROZEN_NODE", "node")
    command = [node, str(Path(__file__).with_name("wat.mjs")), str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError(source.relative_to(ROOT).as_posix(), done.stderr.strip())


def _copy_wheels(folder: Path) -> dict[str, Any]:
    """Copy the packages that cells may import and their lock; return entries with sizes by name.

    The lock names these packages only: Pyodide's own is 119 kB larger.
    """
    lock = wheels.read_lock()
    packages = {}
    for name, entry in lock["packages"].items():
        data = wheels.read_wheel(entry)
        if data is None:
            problem = "is missing or damaged; remove .cache/wheels and run `python3 build.py build`"
            raise SiteError(f".cache/wheels/{entry['file_name']}", problem)
        (folder / entry["file_name"]).write_bytes(data)
        packages[name] = entry | {"bytes": len(data)}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock, sort_keys=True))
    return packages | {DEMO_PACKAGE: write_demo_wheel(folder)}


def _copy_recordings(folder: Path) -> None:
    """Copy the recorded runs and their index (written by docs/experiments/record_runs.py)."""
    folder.mkdir(parents=True, exist_ok=True)
    source = WEB / "recordings"
    index = json.loads((source / "index.json").read_text(encoding="utf-8"))
    for name in ("index.json", *(recording["file"] for recording in index)):
        shutil.copy(source / name, folder / name)


def write_service_worker(out: Path) -> None:
    """Write the service worker of the finished site in `out`, with the hash of each file in it."""
    script = out / SERVICE_WORKER
    policies = f"--define:CELLS_POLICY={json.dumps(policy.CELLS)}"
    _esbuild([f"web/page/{script.name}", "--format=iife", policies, f"--outfile={script}"], out)
    paths = [path for path in sorted(out.rglob("*")) if path.is_file()]
    files = ((path.relative_to(out).as_posix(), path.read_bytes()) for path in paths)
    script.write_text(with_list(script.read_text("utf-8"), files), "utf-8")
