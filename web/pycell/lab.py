"""The Python side of the lab in the page: checks files, opens a session; see lab-session.js."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from unfrozen.lab import operations
from unfrozen.lab.fine_tune import ClockFunctions
from unfrozen.lab.session import LabSession

_files: dict[str, bytes] = {}


def take(name: str, data: Any, sha256: str) -> str:
    """Keep one file of the demo; why it cannot be used, in words, or ""."""
    found = data.to_bytes() if hasattr(data, "to_bytes") else bytes(data)
    if hashlib.sha256(found).hexdigest() != sha256:
        return (
            f"The demo model's {name} arrived damaged: it is not the file this page was built with."
            " Try again; if it stays so, this copy of the site is incomplete."
        )
    _files[name] = found
    return ""


def open_lab(kernel: Callable[[int], object] | None) -> LabSession:
    """A session over the files that were taken; `kernel`, if any, does its matrix operations."""
    operations.set_kernel(kernel)
    session = LabSession(_files, ClockFunctions(time.time, time.monotonic))
    _files.clear()
    return session


def versions() -> str:
    """What computes a run of this page, as JSON."""
    python = ".".join(map(str, sys.version_info[:3]))
    return json.dumps({"python": python, "numpy": np.__version__})
