"""The real micropip, given our layer: it installs what the page has and says why not otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awaited import awaited
from pycell.micropip_layer import PageLayer
from pycell.packages import Packages, unpack
from site_builder import wheels

LOCK = wheels.read_lock()


@pytest.fixture
def micropip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """micropip out of the wheel of the lock, where it sees nothing that is installed here."""

    async def bring(name: str) -> str:
        if name == "numpy":
            return "numpy could not be downloaded: this device is offline. Try again"
        data = wheels.read_wheel(LOCK["packages"][name])
        assert data is not None
        unpack(data, tmp_path, {"PYODIDE_SOURCE": "pyodide"})
        return ""

    async def fetch_wheel(url: str) -> str:
        return f"{url} is elsewhere"

    beside = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *beside])
    packages = Packages(LOCK["packages"], bring, lambda: False)
    packages.on_load = PageLayer(LOCK, packages, fetch_wheel).note_loaded
    awaited(packages.load("micropip"))
    import micropip

    assert micropip.__file__.startswith(str(tmp_path))
    yield micropip
    for name in [name for name in sys.modules if name.partition(".")[0] == "micropip"]:
        del sys.modules[name]


def refusal(micropip: Any, what: str) -> str:
    """What `await micropip.install(what)` raises."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        awaited(micropip.install(what))
    return str(caught.value)


def test_a_package_that_is_not_here_is_refused_with_what_is(micropip: Any) -> None:
    text = refusal(micropip, "pandas")
    assert text.startswith(
        "pandas is not available, and this page fetches nothing from other hosts"
    )
    assert "unfrozen, numpy, micropip and packaging" in text
    assert "\n" not in text


def test_another_version_of_what_is_here_is_refused_with_the_one_that_is(micropip: Any) -> None:
    assert refusal(micropip, "numpy<2") == "numpy is available in version 2.4.3 only."


def test_a_download_that_fails_is_reported_as_it_was(micropip: Any) -> None:
    assert "this device is offline" in refusal(micropip, "numpy==2.4.3")


def test_a_wheel_of_elsewhere_is_refused_in_the_page_s_words(micropip: Any) -> None:
    url = "https://example.com/measure-1.0-py3-none-any.whl"
    assert refusal(micropip, url) == f"{url} is elsewhere"


def test_what_was_loaded_is_listed(micropip: Any) -> None:
    assert micropip.list()["micropip"].version == LOCK["packages"]["micropip"]["version"]
    assert micropip.list()["micropip"].source == "pyodide"
