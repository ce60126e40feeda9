"""The Python that the browser downloads: Pyodide as published, our modules, bytecode of both."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

import build
from site_builder import SiteError, browser_python, disk_cache
from site_builder.browser_python import (
    LIBRARY,
    MODULES,
    progress_bytes,
    python_files,
    python_sources,
)

pytestmark = pytest.mark.slow  # they start the site's Python


@pytest.fixture(scope="module", autouse=True)
def node(node: str) -> str:
    """Python is started in Node."""
    return node


build_files = python_files.__wrapped__  # not from the cache, and leaving it as it is


def archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(python_files()[path]))


def test_sources_are_unchanged() -> None:
    published = zipfile.ZipFile(build.ROOT / "node_modules" / "pyodide" / "python_stdlib.zip")
    carried = archive(LIBRARY)
    assert not [name for name in published.namelist() if carried.read(name) != published.read(name)]
    for name, path in python_sources():
        assert archive(MODULES).read(name) == path.read_bytes()


@pytest.mark.parametrize("name", ["typing", "asyncio/base_events", "pycell/cell", "unfrozen/ask"])
def test_modules_imported_at_start_have_bytecode_next_to_their_source(name: str) -> None:
    found = archive(LIBRARY if name[0] in "ta" else MODULES)
    header = found.read(f"{name}.pyc")[:16]
    assert int.from_bytes(header[4:8], "little") == 1, "its source would be hashed at every start"
    assert f"{name}.py" in found.namelist()


def test_other_modules_have_no_bytecode() -> None:
    assert "turtle.pyc" not in archive(LIBRARY).namelist()
    assert "unfrozen/imported/trainer.pyc" not in archive(MODULES).namelist()


def test_progress_counts_the_bytes_that_the_site_serves() -> None:
    sizes = progress_bytes()
    assert sorted(sizes) == ["pyodide.asm.wasm", "python_stdlib.zip", "unfrozen.zip"]
    for path in (LIBRARY, MODULES):
        assert sizes[Path(path).name] == len(python_files()[path])


@pytest.mark.matrix
def test_a_module_that_does_not_start_stops_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(disk_cache, "CACHE", tmp_path)
    monkeypatch.setattr(browser_python, "IMPORTED_AT_START", ("pycell.nowhere",))
    with pytest.raises(SiteError, match=r"ModuleNotFoundError.*pycell\.nowhere"):
        build_files()


def test_a_file_of_the_runtime_that_is_not_the_published_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browser_python, "RUNTIME", tmp_path)
    with pytest.raises(SiteError, match=r"pyodide\.mjs: has sha256 .* run `npm ci` again"):
        build_files()
