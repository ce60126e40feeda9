"""A cache of predictions for each test file, and unlimited time for suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_runner.memory import loop_advice


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the tests of one file."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        yield place


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """Every setting is tried, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_advice, "MOST_SECONDS", 600.0)
        yield
