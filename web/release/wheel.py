"""Makes a wheel and an sdist that hold the built page and need no Node: `python3 build.py wheel`.

    pyproject.toml README.md LICENSE py/  ─┐
    dist/ → py/gpu_runner/page/           ─┴→ .cache/package → sdist → wheel → packages/

The wheel is made from the sdist, so that the sdist is known to suffice. Files of the page that hold
the demo model or its data, alone or in a package for cells, are cut up: what the runner brings
along already is served from there (`gpu_runner.serve.site.spliced`). What xz shrinks much further
than a wheel's own deflate is packed with it, archives of Python files after their own compression
has been taken out; the server unpacks them when they are asked for.
"""

from __future__ import annotations

import base64
import io
import json
import lzma
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gpu_runner.serve.site import PACKED, SPLICED

ROOT: Final = Path(__file__).resolve().parents[2]
SITE: Final = ROOT / "dist"
STAGE: Final = ROOT / ".cache" / "package"
OUT: Final = ROOT / "packages"
FILES: Final = ("pyproject.toml", "README.md", "LICENSE")
UNWANTED: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
TWICE: Final = shutil.ignore_patterns("*.gz", ".*")
"""A package is compressed itself: with the page's compressed form it would hold the page twice."""
MOST_BYTES: Final = 15_000_000
"""Of each of the two: Python for the page is most of it, and the demo model 3.1 MB."""
PACKED_SHARE: Final = 0.85
"""A file is packed by xz where that leaves at most this share of what deflate leaves."""
LEAST_BYTES: Final = 1000
"""Of a file that is worth sharing."""
LEAST_PACKED_BYTES: Final = 100_000


class Unbuilt(Exception):
    """One sentence: why there is no package, and what to do."""


def stage(site: Path, folder: Path) -> Path:
    """Lay out in `folder` what setuptools packs; the folder of the page in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "py", folder / "py", ignore=UNWANTED)
    runner = folder / "py" / "gpu_runner"
    page = shutil.copytree(site, runner / "page", ignore=TWICE)
    shared = {
        str(path.relative_to(runner)): path.read_bytes()
        for path in sorted((runner / "demo").rglob("*"))
        if path.is_file() and path.stat().st_size >= LEAST_BYTES
    }
    for path in sorted(page.rglob("*")):
        if not path.is_file() or path.suffix == ".html":  # the server writes into that
            continue
        data = path.read_bytes()
        if parts := cut(data, shared):
            text = json.dumps(parts, separators=(",", ":"))
            path.with_name(path.name + SPLICED).write_text(text, "utf-8")
        elif packed := packed_by_xz(data, is_zip=path.suffix == ".zip"):
            path.with_name(path.name + PACKED).write_bytes(packed)
        else:
            continue
        path.unlink()
    return page


def packed_by_xz(data: bytes, *, is_zip: bool) -> bytes:
    """The file packed by xz, empty where that is not worth it. A zip is first made uncompressed."""
    if len(data) < LEAST_PACKED_BYTES:
        return b""
    packed = lzma.compress(uncompressed_zip(data) if is_zip else data, preset=9)
    return packed if len(packed) <= PACKED_SHARE * len(zlib.compress(data, 9)) else b""


def uncompressed_zip(data: bytes) -> bytes:
    """The same archive with its files stored as they are."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as stored:
        for entry in source.infolist():
            content = source.read(entry)
            entry.compress_type = zipfile.ZIP_STORED
            stored.writestr(entry, content)
    return target.getvalue()


def cut(data: bytes, shared: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Parts for `gpu_runner.serve.site.spliced`, none where `data` holds no shared file whole."""
    for name, content in shared.items():
        before, found, after = data.partition(content)
        if found:
            return [
                *(cut(before, shared) or _literal(before)),
                {"file": name},
                *(cut(after, shared) or _literal(after)),
            ]
    return []


def _literal(data: bytes) -> list[dict[str, str]]:
    return [{"base64": base64.b64encode(data).decode("ascii")}] if data else []


def build(folder: Path, out: Path) -> list[Path]:
    """The sdist of `folder`, and the wheel of that sdist, in `out`. Raises `Unbuilt`."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(folder)]
    # From there: here, `build` would be our own build.py.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-12:]
        raise Unbuilt("setuptools made no package:\n" + "\n".join(last))
    return sorted(out.iterdir())


def weigh(packages: list[Path]) -> None:
    """Refuse what is larger than a reader should have to fetch. Raises `Unbuilt`."""
    for package in packages:
        size = package.stat().st_size
        if size > MOST_BYTES:
            raise Unbuilt(
                f"{package.name} has {size / 1e6:.1f} MB, {MOST_BYTES / 1e6:g} are allowed: see"
                " what grew with `unzip -lv`, and leave it out or raise the bound with a reason."
            )


def main() -> int:
    """Make both, say where they are and how large."""
    try:
        stage(SITE, STAGE)
        packages = build(STAGE, OUT)
        weigh(packages)
    except Unbuilt as error:
        print(f"release.wheel: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(STAGE, ignore_errors=True)
    for package in packages:
        print(f"  {package.relative_to(ROOT)}  {package.stat().st_size / 1e6:.1f} MB")
    wheel = next(package for package in packages if package.suffix == ".whl")
    print(f"  pip install {wheel.relative_to(ROOT)} && unfrozen serve")
    return 0


if __name__ == "__main__":
    sys.exit(main())
