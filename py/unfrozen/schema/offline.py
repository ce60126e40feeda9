"""The files that browsers keep of a site: the list with which its service worker begins.

The build writes it, and whoever changes a copy of the site writes it again: a browser that finds
other bytes than it was promised keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Final

SERVICE_WORKER: Final = "service-worker.js"
SNAPSHOT: Final = "python/snapshot.bin"
_LIST: Final = re.compile(r"\Aconst FILES = .*;\n")
_NOT_KEPT: Final = (
    SERVICE_WORKER,
    SNAPSHOT,
    ".br",
    ".gz",
    ".png",
    ".txt",
    ".cdx.json",
    "manifest.json",
)
"""By it: itself, what pages keep themselves, other forms, what nobody reads without a network."""


def with_list(script: str, files: Iterable[tuple[str, bytes]]) -> str:
    """Return the script of a service worker with the hash and the size of each of these files."""
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files
        if not name.endswith(_NOT_KEPT) and not name.startswith("embed/")  # of other sites
    }
    return f"const FILES = {json.dumps(listed)};\n{_LIST.sub('', script)}"
