"""The site compressed once, when it is built: `NAME.gz` beside every file that shrinks by it.

`gpu_runner.serve.site` sends them, and so do hosts that look for them (nginx: `gzip_static on`);
any other host serves the files themselves. Packages, fonts and weights are compressed already.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

SUFFIX: Final = ".gz"
LEAST_BYTES: Final = 1000
MOST_RATIO: Final = 0.9


def compress(folder: Path) -> None:
    """Write the compressed form of each file below `folder` that is worth it, without a date."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != SUFFIX and path.stat().st_size >= LEAST_BYTES:
            data = path.read_bytes()
            packed = gzip.compress(data, 6, mtime=0)
            if len(packed) <= MOST_RATIO * len(data):
                path.with_name(path.name + SUFFIX).write_bytes(packed)
