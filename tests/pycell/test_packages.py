"""A package is brought before the cell that imports it; one that cannot be had is told there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from awaited import awaited
from pycell.cell import CellResult, run_cell_async
from pycell.output import CappedOutput
from pycell.packages import Packages

NAME = "brought_package"


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


def test_what_is_done_on_loading_is_done_once_it_is_here(bring_into: Any) -> None:
    loaded: list[str] = []
    packages = Packages([NAME], bring_into, lambda: False)
    packages.on_load = loaded.append
    assert run(f"import {NAME}", packages).ok
    assert loaded == [NAME]


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
