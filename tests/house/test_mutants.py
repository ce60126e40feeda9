"""The sweep over planted bugs: what it plants, how it is put in place, and that it tells."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from house.tree import ROOT
from mutants.__main__ import PLANTED
from mutants.explained import EXPLAINED
from mutants.graft import graft
from mutants.literals import Mutant, mutants, reached_from, users

SOURCE = '''"""Of 7 things."""
from functools import lru_cache
from typing import NamedTuple

WIDE = 2 * 8
TABLE = {"a": (WIDE, 0)}


class Size(NamedTuple):
    rows: int = 3

    @property
    def bytes(self) -> float:
        return self.rows * 1.5


@lru_cache(maxsize=64)
def size(rows: int = 12) -> int:
    if rows > 1:
        return rows * TABLE["a"][0]
    return 0
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = tmp_path / "planted_in.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("planted_in", path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "planted_in", found)
    spec.loader.exec_module(found)
    return found


def planted(module: ModuleType, old: float, text: str) -> Mutant:
    (found,) = [m for m in mutants(Path(str(module.__file__))) if m.old == old and text in m.text]
    return found


def test_every_number_is_planted_but_those_of_texts_and_caches(module: ModuleType) -> None:
    found = mutants(Path(str(module.__file__)))
    assert [(m.old, m.new) for m in found] == [
        *((2, 3), (8, 9), (0, 1), (3, 4), (1.5, 3.0), (12, 24), (1, 2), (0, 1), (0, 1))
    ]


@pytest.mark.parametrize(
    ("old", "text", "answers"),
    [
        (2, "WIDE", (24 * 2, 4.5)),
        (3, "rows: int", (16 * 2, 6.0)),
        (1.5, "return", (16 * 2, 9.0)),
        (1, "if rows", (0, 4.5)),
    ],
)
def test_a_mutant_in_its_place_changes_the_answers_of_what_was_imported(
    module: ModuleType, old: float, text: str, answers: tuple[int, float]
) -> None:
    size, made = module.size, module.Size
    assert (size(2), made().bytes) == (32, 4.5)
    assert graft(module, planted(module, old, text).code()) > 0
    size.cache_clear()
    assert (size(2), made().bytes) == answers


def test_who_reads_a_constant_is_found_through_others(module: ModuleType) -> None:
    path = Path(str(module.__file__))
    first = SOURCE.splitlines().index("    if rows > 1:") + 1
    names = users(planted(module, 8, "WIDE").names, [path])
    assert names == {"WIDE", "TABLE"}  # which tests may read, too
    places = list(reached_from(names, [path]))
    assert [(place, lines.start) for place, lines in places] == [(path, first)]


def test_what_is_explained_is_still_there() -> None:
    lines = {
        (path.name, line.strip())
        for folder in PLANTED
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
    }
    assert not EXPLAINED.keys() - lines


@pytest.mark.slow
def test_a_sweep_tells_what_no_test_catches_and_ends_with_1() -> None:
    names = ["py/unfrozen/memory/classic.py", "tests/unfrozen/memory/test_classic.py"]
    command = [sys.executable, "-m", "mutants", *names]
    env = os.environ | {"PYTHONPATH": f"{ROOT}/py:{ROOT}/web:{ROOT}/tests:{ROOT}"}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert "11 planted." in ended.stdout, ended.stdout + ended.stderr
    survivors = [line for line in ended.stdout.splitlines() if line.startswith("  none ")]
    assert f"survivors: {len(survivors)}," in ended.stdout
    assert ended.returncode == int(bool(survivors))
