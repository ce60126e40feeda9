"""The service worker: which files the site has, each with its hash, written into its script."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from site_builder.assets import bundle_script
from site_builder.browser_python import SNAPSHOT
from unfrozen.schema import policy

SCRIPT: Final = "service-worker.js"
LEFT_OUT: Final = (SCRIPT, SNAPSHOT, ".gz", ".txt", ".cdx.json")
"""The script, what pages keep themselves, other forms, and what nobody reads without a network."""


def write_service_worker(out: Path) -> None:
    """Write `service-worker.js` for the finished site in `out`."""
    files = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.as_posix().endswith(LEFT_OUT)
    }
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
    }
    version = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
    defines = {"FILES": listed, "VERSION": version, "CELLS_POLICY": policy.CELLS}
    bundle_script(f"web/page/{SCRIPT}", out / SCRIPT, defines)
