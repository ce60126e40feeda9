"""A host of the page that a test may slow down, break and mend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.plain_host import Host, hosted


@pytest.fixture
def host(site: Path, tmp_path: Path) -> Iterator[Host]:
    """A plain host of a copy of the site, for this test alone."""
    with hosted(site, tmp_path / "site") as server:
        yield server
