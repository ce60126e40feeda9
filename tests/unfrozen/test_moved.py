"""Older names of modules go on working: cells that readers keep import them, and code of others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import unfrozen
from unfrozen.moved import MOVED, newer_name

BEFORE = {  # every module there was while most of them lay side by side, by its package
    "": "accuracy advice answer ask boards catalogue cell_json changes cluster compute errors"
    " events flops gpus guesses job largest_model layers methods number_formats optimizers order"
    " plan publish recipe report runner schedules solve step_time timeline typed units"
    " exercises lab memory memory_planner method_decision model",
    "exercises.": "compute_it exercise find_the_lie kept passing",
    "lab.": "tiny warm_up",  # the others need numpy, and have not moved
    "memory.": "activations adapters attention backward checkpoints classic early experts explain"
    " flow gathering instants loss overhead pieces sharding states working",
    "memory_planner.": "command controls figures formulas knobs launch numbers presets runner sizes"
    " state ways",
    "method_decision.": "choices commands controls evidence flips options ranking serving training"
    " words",
    "model.": "architecture bert config fields gpt2 gpt_neox llama megatron",
}
OLD = [f"unfrozen.{package}{name}" for package in BEFORE for name in BEFORE[package].split()]
EXPORTED = {  # names that are packages now give what the modules gave
    "unfrozen.job": "Job KEYS LARGEST_CONFIG_BYTES read_model",
    "unfrozen.plan": "DEFAULT_GPU Plan card_words plan plan_job",
    "unfrozen.answer": "ADVISED_JOBS answer on_all_cards",
    "unfrozen.memory.adapters": "targets",
}


def in_a_fresh_python(code: str) -> str:
    """What a Python that has imported nothing prints; a warning ends it."""
    path = str(Path(unfrozen.__file__).parents[1])
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        f"import sys; sys.path.insert(0, {path!r})\n{code}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_in_the_table() -> Iterator[str]:
    yield from (f"unfrozen.{name}" for name in MOVED)


def test_an_older_name_is_the_very_module_of_the_newer() -> None:
    for name in sorted({*OLD, *names_in_the_table()}):
        newer = newer_name(name) or name
        assert import_module(name) is import_module(newer)
        assert import_module(name).__name__ == newer


def test_they_are_imported_first_in_either_order_and_without_a_warning() -> None:
    for names in (OLD, OLD[::-1]):
        code = f"""
from importlib import import_module
for name in {names!r}:
    import_module(name)
twice = [n for n, m in sys.modules.items() if n.startswith("unfrozen") and m.__name__ != n]
from unfrozen.moved import newer_name
print(sorted(n for n in twice if sys.modules[n] is not sys.modules[newer_name(n)]))
"""
        assert in_a_fresh_python(code).strip() == "[]"


@pytest.mark.parametrize("package", EXPORTED)
def test_a_name_that_became_a_package_gives_what_the_module_gave(package: str) -> None:
    for name in EXPORTED[package].split():
        assert hasattr(import_module(package), name), name


def test_every_form_of_import_takes_them() -> None:
    code = """
from unfrozen import catalogue
import unfrozen.gpus as gpus
import unfrozen.memory_planner.state
from unfrozen.recipe import Recipe
import unfrozen.model.catalogue, unfrozen.hardware.gpus, unfrozen.planner.state
assert catalogue is unfrozen.model.catalogue and gpus is unfrozen.hardware.gpus
assert unfrozen.memory_planner.state is unfrozen.planner.state
print(Recipe.__module__)
"""
    assert in_a_fresh_python(code).strip() == "unfrozen.job.recipe"


def test_a_module_that_never_was_is_missed_by_its_newer_name() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"unfrozen\.planner\.nothing"):
        import_module("unfrozen.memory_planner.nothing")
    with pytest.raises(ModuleNotFoundError, match=r"unfrozen\.nothing"):
        import_module("unfrozen.nothing")


def test_the_table_costs_no_module_before_an_older_name_is_asked_for() -> None:
    code = "before = set(sys.modules)\nimport unfrozen\nprint(sorted(set(sys.modules) - before))"
    found = in_a_fresh_python(f"import typing, __future__\n{code}")
    assert found.strip() == "['unfrozen', 'unfrozen.moved']"


def test_nothing_of_ours_goes_by_an_older_name() -> None:
    code = """
import unfrozen.__main__, unfrozen.ask, unfrozen.decision, unfrozen.exercises
from unfrozen.moved import newer_name
print([name for name in sys.modules if newer_name(name)])
"""
    assert in_a_fresh_python(code).strip() == "[]"


def test_no_older_name_of_a_module_hides_a_function_of_the_same_name() -> None:
    code = f"""
from importlib import import_module
for name in {sorted(OLD)!r}:
    import_module(name)
import unfrozen.decision, unfrozen.planner
print(callable(unfrozen.planner.ways), callable(unfrozen.decision.ranking.flips))
"""
    assert in_a_fresh_python(code).split() == ["True", "True"]
