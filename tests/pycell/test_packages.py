"""A package is found in a cell's source and loaded before it runs; a failure is reported there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, cast

import pytest

from awaited import awaited
from pycell.cell import CappedOutput, CellResult, run_cell_async
from pycell.packages import Packages, packages_imported, refusal_of, unpack
from site_builder import wheels
from unfrozen import lab

NAME = "brought_package"
CARRIED = ("numpy", "gpu_runner")
ENTRY = wheels.read_lock()["packages"]["numpy"]


@pytest.fixture
def bring_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A page that has the package: bringing it writes a real module where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)

    async def bring(name: str) -> str:
        (tmp_path / f"{name}.py").write_text("answer = 42")
        return ""

    yield bring
    sys.modules.pop(NAME, None)


def run(source: str, packages: Packages) -> CellResult:
    """Run a cell as the page does, `packages` in the place where they stand there."""
    sys.meta_path.append(packages)
    try:
        output = CappedOutput(lambda _text: None)
        cell = run_cell_async(source, {}, output, "cell", packages.prepare)
        return cast(CellResult, awaited(cell))
    finally:
        sys.meta_path.remove(packages)


def test_a_package_is_brought_before_the_cell_that_imports_it(bring_into: Any) -> None:
    asked: list[str] = []

    async def bring(name: str) -> str:
        asked.append(name)
        return str(await bring_into(name))

    packages = Packages([NAME], bring, lambda: False)
    assert run("1", packages).ok
    assert asked == []
    assert run(f"def f():\n    import {NAME}\n    return {NAME}.answer\nf()", packages).ok
    assert run(f"import {NAME}", packages).ok
    assert asked == [NAME]


async def refuse(_name: str) -> str:
    return "The line is dead. Try again"


def test_a_package_that_cannot_be_had_fails_at_its_import_and_not_before() -> None:
    packages = Packages([NAME], refuse, lambda: False)
    result = run(f"x = 1\nimport {NAME}", packages)
    assert result.error is not None
    assert (result.error.type, result.error.line) == ("ImportError", 2)
    assert result.error.message == "The line is dead. Try again"
    assert run(f"try:\n    import {NAME}\nexcept ImportError:\n    pass", packages).ok
    assert run(f"if False:\n    import {NAME}", packages).ok


def test_a_refusal_is_forgotten_with_the_next_run(bring_into: Any) -> None:
    answers = iter([refuse, bring_into])

    async def bring(name: str) -> str:
        return str(await next(answers)(name))

    packages = Packages([NAME], bring, lambda: False)
    assert not run(f"import {NAME}", packages).ok
    assert run(f"import {NAME}", packages).ok


def test_stop_during_the_download_is_a_stop_of_the_cell() -> None:
    packages = Packages([NAME], refuse, lambda: True)
    result = run(f"import {NAME}", packages)
    assert result.error is not None
    assert result.error.type == "KeyboardInterrupt"
    assert packages.notice.startswith(f"You stopped the download of {NAME}.")


def test_a_name_made_up_is_found_where_an_import_can_wait(bring_into: Any) -> None:
    source = f"import importlib\nimportlib.import_module({NAME[:5]!r} + {NAME[5:]!r}).answer"
    nowhere = Packages([NAME], bring_into, lambda: False)
    assert not run(source, nowhere).ok

    def wait(loading: Any) -> None:
        with pytest.raises(StopIteration):
            loading.send(None)

    assert run(source, Packages([NAME], bring_into, lambda: False, lambda: wait)).ok


def test_other_names_and_parts_of_packages_are_left_to_others() -> None:
    packages = Packages([NAME], refuse, lambda: False)
    assert packages.find_spec("pandas") is None
    assert packages.find_spec(f"{NAME}.part", path=["x"]) is None


@pytest.mark.parametrize(
    "source",
    [
        "import numpy",
        "import numpy as np",
        "import json, numpy.linalg",
        "from numpy import array",
        "from numpy.linalg import norm",
        "def f():\n    import numpy",
        "try:\n    import numpy\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('numpy.linalg')",
        "__import__('numpy')",
        "from unfrozen.lab.optimizer import AdamW",
        "from unfrozen.lab import optimizer",
        "await f()\nimport numpy",
    ],
)
def test_numpy_is_seen_however_it_is_imported(source: str) -> None:
    assert packages_imported(source, CARRIED) == ["numpy"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "numpy = 1\nprint('import numpy')",
        "import json",
        "import not_there",
        "from . import numpy",
        "from unfrozen.lab.tiny import fine_tune",
        "from unfrozen.plan import plan",
        "import numpyro",
        "import numpy as",
        "name = 'num' + 'py'\n__import__(name)",
        "import_module()",
        "\0",
    ],
)
def test_nothing_is_seen_where_nothing_is_imported_or_nothing_runs(source: str) -> None:
    assert packages_imported(source, CARRIED) == []


def test_several_packages_come_in_order_and_once() -> None:
    source = "import numpy, gpu_runner.demo\nimport numpy"
    assert packages_imported(source, CARRIED) == ["gpu_runner", "numpy"]


def test_what_brings_no_numpy_of_the_lab_needs_none() -> None:
    parts = [f"unfrozen.lab.{path.stem}" for path in Path(lab.__file__).parent.glob("[a-z]*.py")]
    alone = [name for name in parts if not packages_imported(f"import {name}", CARRIED)]
    assert len(alone) == 4
    code = f"import {', '.join(alone)}, sys\nassert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def wheel() -> bytes:
    data = wheels.read_wheel(ENTRY)
    assert data is not None, "build the site first: python3 build.py build"
    return data


def test_the_wheel_of_the_lock_is_accepted(wheel: bytes) -> None:
    assert refusal_of(wheel, "numpy", ENTRY["sha256"], len(wheel)) == ""


def test_one_changed_bit_is_reported(wheel: bytes) -> None:
    damaged = bytes([wheel[0] ^ 1]) + wheel[1:]
    refusal = refusal_of(damaged, "numpy", ENTRY["sha256"], len(wheel))
    assert "its SHA-256 is not the one this page was built with" in refusal
    assert "Try again" in refusal


def test_a_wheel_that_is_too_short_says_by_how_much(wheel: bytes) -> None:
    refusal = refusal_of(wheel[:1000], "numpy", ENTRY["sha256"], len(wheel))
    assert "numpy arrived damaged: 1,000 of 2,916,023 bytes." in refusal


def test_an_unpacked_wheel_is_found(
    wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(wheel, str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert distribution("numpy").version == ENTRY["version"]


def test_a_cell_that_names_the_log_of_a_run_gets_it_or_the_reason_in_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    async def refuse(name: str) -> str:
        asked.append(name)
        return "No run is shown."

    packages = Packages([], refuse, lambda: False)
    result = run("x = 1\nopen('run.jsonl')", packages)
    assert result.error is not None
    assert (result.error.type, result.error.line) == ("FileNotFoundError", 2)
    assert result.error.traceback.endswith("No run is shown.\n")
    assert run("open('walk.jsonl')", packages).error is not None
    assert asked == ["run.jsonl"]
    stopped = run("'run.jsonl'", Packages([], refuse, lambda: True))
    assert stopped.error is not None
    assert stopped.error.type == "KeyboardInterrupt"
