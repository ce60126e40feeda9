"""The file of a calibration: written whole, read with care, of one device."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_runner.errors import UsageError
from gpu_runner.system.calibration import (
    FILE_ENV,
    calibration_path,
    load_calibration,
    save_calibration,
)
from unfrozen.plan.timing.calibration import Calibration

FOUND = Calibration(device="mine", day="2026-11-27", products=(("fp32", 0.05),))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "calibration.json"
    monkeypatch.setenv(FILE_ENV, str(path))
    return path


def test_a_saved_calibration_is_loaded_for_its_own_device(file: Path) -> None:
    assert calibration_path() == file
    assert load_calibration() is None
    save_calibration(FOUND, file)
    assert load_calibration() == load_calibration("mine") == FOUND
    assert load_calibration("another") is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_damaged_file_is_refused_with_its_remedy(file: Path) -> None:
    save_calibration(FOUND, file)
    file.write_text('{"device": 3}')
    with pytest.raises(UsageError, match="unfrozen calibrate"):
        load_calibration()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--to"):
        save_calibration(FOUND, tmp_path / "file" / "calibration.json")
