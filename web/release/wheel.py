"""Makes two wheels and their sdists, which need no Node: `python3 build.py wheel`.

    py/unfrozen                                  → .cache/package/unfrozen-planner ─┬→ packages/
    py/gpu_runner, dist/, requirements.txt train → .cache/package/unfrozen         ─┘

The planner needs nothing but Python. The other has the runner and the built page, and requires the
planner of its own version: no file is in both. A wheel is built from its sdist, which shows that
the sdist is complete. Files of the page that contain the demo model or its data, alone or in a
package for cells, are split: the server inserts those parts from the runner's own files
(`gpu_runner.serve.site.spliced`). A file that xz compresses much better than a wheel's deflate is
stored as .xz, a zip archive without its own compression, and the server decompresses it on request.
"""

from __future__ import annotations

import base64
import io
import json
import lzma
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from build import locked
from gpu_runner.serve.site import PACKED, SPLICED
from unfrozen.schema.offline import SNAPSHOT

ROOT: Final = Path(__file__).resolve().parents[2]
SITE: Final = ROOT / "dist"
STAGE: Final = ROOT / ".cache" / "package"
OUT: Final = ROOT / "packages"
PLANNER: Final = "unfrozen-planner"
FILES: Final = ("README.md", "LICENSE")
PLANNER_DESCRIPTION: Final = (
    "Predicts GPU memory, time and cost of fine-tuning a language model; standard library alone"
)
UNWANTED: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
NOT_PACKAGED: Final = shutil.ignore_patterns("*.gz", "*.br", ".*", Path(SNAPSHOT).name)
"""A package is compressed itself, and would otherwise contain the page twice; the snapshot saves a
second of the first visit, and would be a third of it."""
MAX_BYTES: Final = {PLANNER: 1_500_000, "unfrozen": 15_000_000}
"""Of each package: most of the larger is Python for the page, and the demo model is 3.1 MB."""
XZ_MAX_RATIO: Final = 0.85
"""A file is stored as .xz when that takes at most this ratio of deflate's bytes."""
SHARED_MIN_BYTES: Final = 1000
XZ_MIN_BYTES: Final = 100_000
XZ_PRESET = 9


class PackageError(Exception):
    """The packages cannot be built; one sentence says why and what to do."""


def stage(site: Path, folder: Path) -> Path:
    """Copy what setuptools packages into folders of `folder`; return that of the page in it."""
    shutil.rmtree(folder, ignore_errors=True)
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    _stage_package(folder / PLANNER, "unfrozen", planner_project(text))
    whole = _stage_package(folder / "unfrozen", "gpu_runner", whole_project(text))
    return _stage_page(site, whole)


def _stage_package(folder: Path, package: str, project: str) -> Path:
    """Copy one Python package with its project file; return the folder of the package."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / "pyproject.toml").write_text(project, "utf-8")
    return Path(shutil.copytree(ROOT / "py" / package, folder / "py" / package, ignore=UNWANTED))


def planner_project(text: str) -> str:
    """Return the pyproject.toml of the planner's package from that of the repository."""
    text = text.replace('name = "unfrozen"', f'name = "{PLANNER}"')
    text = re.sub(r"\ndescription = .*", f'\ndescription = "{PLANNER_DESCRIPTION}"', text)
    text = re.sub(r"\ndependencies = \[.*?\n\]", "", text, flags=re.DOTALL)
    return re.sub(r"\n\[project\.optional-dependencies\].*?(?=\n\[)", "", text, flags=re.DOTALL)


def whole_project(text: str) -> str:
    """Return the pyproject.toml of the whole package, which requires the planner of its version."""
    version = tomllib.loads(text)["project"]["version"]
    own = "\ndependencies = ["
    return text.replace(own, f'{own}\n  "{PLANNER}=={version}",')


def _stage_page(site: Path, runner: Path) -> Path:
    """Copy the page into the package of the runner, as its server reads it; return its folder."""
    (runner / "requirements.txt").write_text(locked("train"), "utf-8")
    page = shutil.copytree(site, runner / "page", ignore=NOT_PACKAGED)
    shared = {
        str(path.relative_to(runner)): path.read_bytes()
        for path in sorted((runner / "demo").rglob("*"))
        if path.is_file() and path.stat().st_size >= SHARED_MIN_BYTES
    }
    for path in sorted(page.rglob("*")):
        if not path.is_file() or path.suffix == ".html":  # the server inserts values into it
            continue
        data = path.read_bytes()
        if parts := split(data, shared):
            text = json.dumps(parts, separators=(",", ":"))
            path.with_name(path.name + SPLICED).write_text(text, "utf-8")
        elif packed := compress(data, is_zip=path.suffix == ".zip"):
            path.with_name(path.name + PACKED).write_bytes(packed)
        else:
            continue
        path.unlink()
    return page


def compress(data: bytes, *, is_zip: bool) -> bytes:
    """Return the file compressed by xz, or nothing where that gains too little."""
    if len(data) < XZ_MIN_BYTES:
        return b""
    packed = lzma.compress(store_zip(data) if is_zip else data, preset=XZ_PRESET)
    return packed if len(packed) <= XZ_MAX_RATIO * len(zlib.compress(data)) else b""


def store_zip(data: bytes) -> bytes:
    """Return the same archive without compression, which xz compresses better."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as stored:
        for entry in source.infolist():
            content = source.read(entry)
            entry.compress_type = zipfile.ZIP_STORED
            stored.writestr(entry, content)
    return target.getvalue()


def split(data: bytes, shared: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Return parts for `gpu_runner.serve.site.spliced`; none if `data` contains no shared file."""
    for name, content in shared.items():
        before, found, after = data.partition(content)
        if found:
            return [
                *(split(before, shared) or _literal(before)),
                {"file": name},
                *(split(after, shared) or _literal(after)),
            ]
    return []


def _literal(data: bytes) -> list[dict[str, str]]:
    return [{"base64": base64.b64encode(data).decode("ascii")}] if data else []


def build(folder: Path, out: Path) -> list[Path]:
    """Build the sdists of `folder` and the wheels of these into `out`; return their paths.

    Raises `PackageError`.
    """
    shutil.rmtree(out, ignore_errors=True)
    for package in sorted(folder.iterdir()):
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), "."]
        # In that folder, because here `build` is our own build.py.
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-12:]
            raise PackageError(f"setuptools made no {package.name}:\n" + "\n".join(last))
    return sorted(out.iterdir())


def check_sizes(packages: list[Path]) -> None:
    """Raise `PackageError` for a package larger than a user should have to download."""
    for package in packages:
        size, most = package.stat().st_size, max_bytes(package)
        if size > most:
            raise PackageError(
                f"{package.name} is {size / 1e6:.1f} MB, the limit is {most / 1e6:g} MB: see"
                " what grew with `unzip -lv`, and leave it out or raise the limit with a reason."
            )


def max_bytes(package: Path) -> int:
    """Return the largest size of a wheel or an sdist, which its name belongs to."""
    return MAX_BYTES[package.name.partition("-")[0].replace("_", "-")]


def main() -> int:
    """Build both packages; print their paths and sizes."""
    try:
        stage(SITE, STAGE)
        packages = build(STAGE, OUT)
        check_sizes(packages)
    except PackageError as error:
        print(f"release.wheel: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(STAGE, ignore_errors=True)
    for package in packages:
        print(f"  {package.relative_to(ROOT)}  {package.stat().st_size / 1e6:.1f} MB")
    planner = next(package for package in packages if package.name.startswith("unfrozen_planner"))
    print(f"  pip install {OUT.relative_to(ROOT)}/*.whl && unfrozen serve")
    print(f"  uvx --from {planner.relative_to(ROOT)} unfrozen plan --help")
    return 0


if __name__ == "__main__":
    sys.exit(main())
