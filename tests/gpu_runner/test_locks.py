"""Locks of open files: one holder, or several that share, each as long as its file is open."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gpu_runner.locks import try_lock, wait_for_lock


@pytest.fixture
def files(tmp_path: Path) -> tuple[int, int]:
    """Two descriptors of one file, each opened by itself."""
    path = tmp_path / "file"
    path.touch()
    return os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)


def test_one_holds_a_lock_until_its_file_is_closed(files: tuple[int, int]) -> None:
    one, two = files
    assert try_lock(one)
    assert try_lock(two) is try_lock(two, shared=True) is False
    begun = time.monotonic()
    assert wait_for_lock(two, 0.05) is False
    assert time.monotonic() - begun >= 0.05
    os.close(one)
    assert wait_for_lock(two)


def test_a_lock_may_be_shared(files: tuple[int, int]) -> None:
    one, two = files
    assert try_lock(one, shared=True)
    assert try_lock(two, shared=True)
    assert try_lock(two) is False


def test_what_cannot_be_locked_is_told_from_what_is_held() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    os.close(reader)
    assert try_lock(reader) is None
