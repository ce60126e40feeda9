"""The page's own JavaScript, called from Python: one Node process for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from run.javascript import JavaScript


@pytest.fixture(scope="session")
def js(node: str) -> Iterator[JavaScript]:
    """`js(body, value)` runs `body`, which finds `value` in `input`, and gives what it returns."""
    running = JavaScript(node, Path(__file__).with_name("evaluate.mjs"))
    yield running
    running.stop()
