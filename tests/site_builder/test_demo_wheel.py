"""The demo model as a package for cells: what it carries, and that it stands on its own."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build
from pycell.packages import unpack
from site_builder.browser_python import demo_wheel, write_demo_wheel
from unfrozen.lab.demo import FILES

READ = """
import sys
sys.path[:0] = sys.argv[1:]
from gpu_runner import demo
from unfrozen.lab.demo import FILES, Demo
import pytest
folder = demo.card().parent
assert str(folder).startswith(sys.argv[1])
print(len(Demo.read({name: (folder / name).read_bytes() for name in FILES}).train))
"""


def test_the_entry_is_that_of_the_file_it_has_written(tmp_path: Path) -> None:
    entry = write_demo_wheel(tmp_path)
    data = (tmp_path / entry["file_name"]).read_bytes()
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert entry["bytes"] == len(data)


def test_it_carries_the_files_of_the_demo_and_of_the_runner_only_what_finds_them() -> None:
    names = zipfile.ZipFile(io.BytesIO(demo_wheel())).namelist()
    assert {f"gpu_runner/demo/{name}" for name in FILES} <= set(names)
    code = [name for name in names if name.endswith(".py")]
    assert code == ["gpu_runner/__init__.py", "gpu_runner/demo/__init__.py"]


@pytest.mark.slow
def test_unpacked_it_is_read_without_the_rest_of_the_runner(tmp_path: Path) -> None:
    unpack(demo_wheel(), str(tmp_path))
    program = [sys.executable, "-c", READ, str(tmp_path), str(build.ROOT / "py")]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100
