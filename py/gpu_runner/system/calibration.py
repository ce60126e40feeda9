"""The file of a calibration: its path, an atomic write, a read that checks every value."""

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


def calibration_path() -> Path:
    """Return `UNFROZEN_CALIBRATION`, else the path in the user's configuration folder."""
    if given := os.environ.get(FILE_ENV):
        return Path(given).expanduser()
    return user_config_path(NAME, appauthor=False) / "calibration.json"


def save_calibration(found: Calibration, path: Path) -> None:
    """Write it atomically. Raises `UsageError` where the folder cannot be written."""
    text = json.dumps(found.as_json(), indent=1) + "\n"
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise UsageError(
            f"{short(path)} cannot be written ({error.strerror}): give another file with --to."
        ) from None


def load_calibration(device: str | None = None) -> Calibration | None:
    """Return the saved calibration of `device` (None: of any); None without one, or of another.

    Raises `UsageError` for a damaged file.
    """
    path = calibration_path()
    if not path.exists():
        return None
    try:
        found = Calibration.read(json.loads(read_plain(path, _MOST_BYTES)))
    except (OSError, NotPlain, ValueError, PlanError) as error:
        raise UsageError(
            f"{short(path)} is no calibration ({error}): run `unfrozen calibrate` again."
        ) from None
    return found if device in (None, found.device) else None
