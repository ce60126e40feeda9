"""The Python side of the fine-tune in the page: checks its files and opens a session."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from unfrozen.lab import operations, optimizer
from unfrozen.lab.fine_tune import ClockFunctions
from unfrozen.lab.session import LabSession

_files: dict[str, bytes] = {}


def add_file(name: str, data: Any, sha256: str) -> str:
    """Keep one file of the demo, a JavaScript Uint8Array; return why it is refused, or ""."""
    content = data.to_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        return (
            f"The demo model's {name} arrived damaged: it is not the file this page was built with."
            " Try again; if that does not help, this copy of the site is incomplete."
        )
    _files[name] = content
    return ""


def open_lab(
    multiply: Callable[[int], object] | None,
    exp: Callable[[int], object] | None,
    adamw: Callable[[int], object] | None,
) -> LabSession:
    """Return a session over the files that were added; without a kernel numpy does its work."""
    operations.set_kernel(multiply, exp)
    optimizer.set_kernel(adamw)
    session = LabSession(_files, ClockFunctions(time.time, time.monotonic))
    _files.clear()
    return session


def versions() -> str:
    """Return the versions of Python and numpy as JSON."""
    python = ".".join(map(str, sys.version_info[:3]))
    return json.dumps({"python": python, "numpy": np.__version__})
