"""Names for the editor: all that the interpreter knows, and nothing of the reader's runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pycell.cell import run_cell
from pycell.completion import MOST_NAMES, complete

SETUP = """
import collections, dataclasses, functools, math, sys
import unfrozen.plan

@dataclasses.dataclass
class Job:
    model: str = "8B"
    later: "undefined()" = 1

    def train(self, steps, /, rate, *, seed=0): pass

    @classmethod
    def load(cls, path): pass

    @property
    def cost(self): raise SystemExit("ran")

    def __getattr__(self, name): raise SystemExit("ran")

    def __dir__(self): raise SystemExit("ran")

class Meta(type):
    __mro__ = property(lambda self: sys.exit("ran"))
    def __getattribute__(self, name): raise SystemExit("ran")

class Odd(metaclass=Meta):
    here = 1
    __dict__ = property(lambda self: sys.exit("ran"))
    __class__ = property(lambda self: sys.exit("ran"))

class Slots:
    __slots__ = ("held", "unset")

@functools.wraps(Job.train)
def again(*rest, **named): pass

job, odd, slots, runs = Job(), Odd(), Slots(), [{"loss": "2.5"}]
slots.held = math
globals()[7] = globals()["not a name"] = 1
"""


@pytest.fixture(scope="module")
def namespace() -> dict[str, Any]:
    names: dict[str, Any] = {}
    assert run_cell(SETUP, names, lambda _: None).error is None
    return names


def known(namespace: dict[str, Any], **place: Any) -> dict[str, str]:
    nowhere = {"owner": "", "callee": "", "package": None, "members": False, "hidden": False}
    return dict(json.loads(complete(json.dumps({**nowhere, **place}), namespace)))


def test_names_are_those_of_the_cells_that_ran_and_the_built_in_ones(
    namespace: dict[str, Any],
) -> None:
    found = known(namespace)
    some = {"job": "Job", "math": "module", "Job": "class", "again": "function", "runs": "list"}
    assert some.items() <= found.items()
    assert found["print"] == found["len"] == "built-in"
    assert "__name__" not in found
    assert "__name__" in known(namespace, hidden=True)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        ("math", {"pi": "float", "sqrt": "function"}),
        ("job", {"model": "str", "train": "function", "cost": "property", "load": "function"}),
        ("Job", {"model": "str", "train": "function"}),
        ("Odd", {"here": "int"}),
        ("odd", {"here": "int"}),
        ("slots", {"held": "property", "unset": "property"}),
        ("slots.held", {"pi": "float"}),
        ("runs[0]['loss']", {"upper": "function"}),
        ("f'{job}'", {"upper": "function"}),
        ("[x for x in (1,)]", {}),
        ("{1: 2}", {"items": "function"}),
        ("unfrozen.plan", {"plan": "function"}),
    ],
)
def test_members_are_looked_up_and_never_computed(
    namespace: dict[str, Any], owner: str, names: dict[str, str]
) -> None:
    found = known(namespace, owner=owner)
    assert names.items() <= found.items()
    assert bool(found) == bool(names)


@pytest.mark.parametrize(
    "owner",
    ["job.cost", "job.nothing", "job()", "slots.unset", "runs[job]", "runs[9]", "x =", "('", "\0",
     "odd.__class__", "job.cost.fget", "(" * 300, "undefined", "lambda: job"],
)  # fmt: skip
def test_what_had_to_be_run_or_cannot_be_read_has_no_names(
    namespace: dict[str, Any], owner: str
) -> None:
    assert known(namespace, owner=owner) == {}


@pytest.mark.parametrize(
    ("callee", "names"),
    [
        ("job.train", ["rate", "seed"]),
        ("Job", ["model", "later"]),
        ("Job.load", ["path"]),
        ("again", ["rate", "seed"]),
        ("sorted", ["key", "reverse"]),
        ("job.cost", []),
        ("math.sqrt", []),
        ("undefined", []),
    ],
)
def test_the_arguments_of_a_call_come_first(
    namespace: dict[str, Any], callee: str, names: list[str]
) -> None:
    found = list(known(namespace, callee=callee).items())
    assert found[: len(names)] == [(f"{name}=", "argument") for name in names]
    assert found[len(names)][1] != "argument"


def test_an_import_knows_modules_that_were_not_imported(namespace: dict[str, Any]) -> None:
    assert {"json", "unfrozen"} <= known(namespace, package="").keys()
    assert known(namespace, package="unfrozen")["lab"] == "module"
    members = known(namespace, package="unfrozen.plan", members=True)
    assert members["plan"] == "function"
    for package in ("math.pi", "no.such", ".", "unfrozen."):
        assert known(namespace, package=package) == {}, package


def test_very_many_names_are_cut() -> None:
    assert len(known({f"name{i}": i for i in range(30_000)})) == MOST_NAMES
