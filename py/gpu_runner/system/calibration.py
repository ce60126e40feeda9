"""The file that keeps a calibration: where it lies, written whole, read with care."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from gpu_runner.errors import UsageError
from gpu_runner.installed import NAME, short
from gpu_runner.plain import NotPlain, read_plain
from unfrozen.errors import PlanError
from unfrozen.plan.timing.calibration import Calibration

FILE_ENV: Final = "UNFROZEN_CALIBRATION"
_MOST_BYTES: Final = 65_536


def place() -> Path:
    """Where it lies: in `UNFROZEN_CALIBRATION`, else in the user's folder of settings."""
    if given := os.environ.get(FILE_ENV):
        return Path(given).expanduser()
    return user_config_path(NAME, appauthor=False) / "calibration.json"


def keep(found: Calibration, path: Path) -> None:
    """Write it, whole or not at all. Raises `UsageError` where the folder cannot be written."""
    text = json.dumps(found.as_json(), indent=1) + "\n"
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise UsageError(
            f"{short(path)} cannot be written ({error.strerror}): give another with --to."
        ) from None


def kept(device: str | None = None) -> Calibration | None:
    """What is kept of a device, of any where none is named; None where nothing is, or of another.

    Raises `UsageError` for a file that is damaged: what it would replace is not guessed.
    """
    path = place()
    if not path.exists():
        return None
    try:
        found = Calibration.read(json.loads(read_plain(path, _MOST_BYTES)))
    except (OSError, NotPlain, ValueError, PlanError) as error:
        raise UsageError(
            f"{short(path)} holds no calibration ({error}): `unfrozen calibrate` writes it again."
        ) from None
    return found if device in (None, found.device) else None
