"""Reads the data files of this package: the only place where the core reads a file.

`importlib.resources` does the same, but its import takes longer than all of these files.
"""

from __future__ import annotations

import json
import sys
import tomllib
from typing import Any


def read_json(name: str) -> Any:
    """Return the content of a file of this package, such as "hardware/gpus.json".

    Works from a folder, a wheel and the zip archive that the page imports from.
    """
    return json.loads(_read(name))


def read_toml(name: str) -> Any:
    """Return the content of a TOML file of this package."""
    return tomllib.loads(_read(name).decode())


def _read(name: str) -> bytes:
    package = sys.modules["unfrozen"]
    loader: Any = package.__spec__.loader if package.__spec__ else None
    found: bytes = loader.get_data(f"{package.__path__[0]}/{name}")
    return found
