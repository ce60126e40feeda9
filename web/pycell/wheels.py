"""Wheels that the page fetched: checked, and unpacked where Python finds them."""

from __future__ import annotations

import hashlib
import importlib
import io
import zipfile
from pathlib import Path
from site import getsitepackages
from typing import Any


def install(buffer: Any, name: str, sha256: str, size_bytes: int) -> str:
    """Unpack the wheel of a package of this site; return why it is refused, or an empty string.

    `buffer` is a JavaScript Uint8Array; `sha256` and `size_bytes` are what the wheel must have.
    """
    wheel = buffer.to_bytes()
    if refusal := refusal_of(wheel, name, sha256, size_bytes):
        return refusal
    unpack(wheel, Path(getsitepackages()[0]), {"PYODIDE_SOURCE": "pyodide"})
    return ""


def refusal_of(wheel: bytes, name: str, sha256: str, size_bytes: int) -> str:
    """Say what is wrong with a wheel that is not the one its sha256 names; empty when it is."""
    if hashlib.sha256(wheel).hexdigest() == sha256:
        return ""
    short = len(wheel) != size_bytes
    counted = f"{len(wheel):,} of {size_bytes:,} bytes"
    what = counted if short else "its SHA-256 is not the one this page was built with"
    return (
        f"{name} arrived damaged: {what}. It was thrown away. Try again; if it stays so, this copy "
        "of the site is incomplete."
    )


def unpack(wheel: bytes, folder: Path, notes: dict[str, str]) -> None:
    """Unpack a wheel into `folder` and add `notes` (file name → text) to its `.dist-info`."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        archive.extractall(folder)
        tops = {name.split("/")[0] for name in archive.namelist()}
    for info in (top for top in tops if top.endswith(".dist-info")):
        for name, text in notes.items():
            (folder / info / name).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
