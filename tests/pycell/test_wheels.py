"""A wheel is unpacked only when its sha256 is the one of the lock."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from pycell.wheels import refusal_of, unpack
from site_builder import wheels

ENTRY = wheels.lock()["packages"]["packaging"]


@pytest.fixture(scope="module")
def wheel() -> bytes:
    data = wheels.read_wheel(ENTRY)
    assert data is not None, "build the site first: python3 build.py build"
    return data


def test_the_wheel_of_the_lock_is_accepted(wheel: bytes) -> None:
    assert refusal_of(wheel, "packaging", ENTRY["sha256"], len(wheel)) == ""


def test_one_changed_bit_is_told(wheel: bytes) -> None:
    damaged = bytes([wheel[0] ^ 1]) + wheel[1:]
    refusal = refusal_of(damaged, "packaging", ENTRY["sha256"], len(wheel))
    assert "its SHA-256 is not the one this page was built with" in refusal
    assert "Try again" in refusal


def test_a_wheel_that_is_too_short_says_by_how_much(wheel: bytes) -> None:
    refusal = refusal_of(wheel[:1000], "packaging", ENTRY["sha256"], len(wheel))
    assert "packaging arrived damaged: 1,000 of 95,846 bytes." in refusal


def test_an_unpacked_wheel_can_be_imported_and_knows_where_it_came_from(
    wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(wheel, tmp_path, {"PYODIDE_SOURCE": "pyodide"})
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = distribution("packaging")
    assert (found.version, found.read_text("PYODIDE_SOURCE")) == (ENTRY["version"], "pyodide")
    assert hashlib.sha256(wheel).hexdigest() == ENTRY["sha256"]
