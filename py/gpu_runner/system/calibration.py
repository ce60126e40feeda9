"""The file of a calibration: its path, an atomic write, a read that checks every value."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from gpu_runner.atomic import write_file
from gpu_runner.errors import UsageError
from gpu_runner.installed import NAME, short
from gpu_runner.plain import read_json
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
    """Write it in place of an older one, or of none. Raises `UsageError` where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _read(path)
        write_file(path, json.dumps(found.as_json(), indent=1) + "\n")
    except (ValueError, PlanError) as error:
        raise UsageError(
            f"{short(path)} is there and is no calibration ({error}): move it away, or give another"
            " file with --to."
        ) from None
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
        found = _read(path)
    except (OSError, ValueError, PlanError) as error:
        raise UsageError(
            f"{short(path)} is no calibration ({error}): run `unfrozen calibrate` again."
        ) from None
    return found if device in (None, found.device) else None


def _read(path: Path) -> Calibration:
    return Calibration.read(read_json(path, _MOST_BYTES))
