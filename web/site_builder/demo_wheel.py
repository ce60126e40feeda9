"""The demo model as a package that a cell may import: `from gpu_runner import demo`, and no more.

The same two files of the runner that read the demo on a reader's own machine, with the files of the
model and its rows beside them. It is fetched, checked and kept as numpy is.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from site_builder.project import Project
from unfrozen.lab.demo import FILES

NAME = "gpu_runner"
_RUNNER = Path(__file__).resolve().parents[2] / "py" / "gpu_runner"
_CARRIED = ("__init__.py", "demo/__init__.py", "demo/card.json", *(f"demo/{n}" for n in FILES))
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the first date a zip can carry


def write_wheel(folder: Path) -> dict[str, Any]:
    """Write the wheel into `folder`; its entry as a lock of packages has it, with its size."""
    version = Project.read().version
    data = packed()
    name = f"{NAME}_demo-{version}-py3-none-any.whl"
    (folder / name).write_bytes(data)
    return {
        "depends": [],
        "file_name": name,
        "imports": [NAME],
        "install_dir": "site",
        "name": NAME,
        "package_type": "package",
        "sha256": hashlib.sha256(data).hexdigest(),
        "unvendored_tests": False,
        "version": version,
        "bytes": len(data),
    }


@cache
def packed() -> bytes:
    """The wheel, without clock or owner in it: the same files give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _contents(Project.read().version):
            entry = zipfile.ZipInfo(name, _OLDEST)
            # Weights shrink by a fourteenth, and as they are a package holds them once for us all.
            weights = name.endswith(".safetensors")
            entry.compress_type = zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return target.getvalue()


def _contents(version: str) -> Iterator[tuple[str, bytes]]:
    for name in _CARRIED:
        yield f"{NAME}/{name}", (_RUNNER / name).read_bytes()
    about = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"
    yield f"{NAME}_demo-{version}.dist-info/METADATA", about.encode()
