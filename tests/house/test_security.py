"""docs/SECURITY.md is true: each of its tests exists, each of its limits is the code's."""

import ast
import re
from pathlib import Path

import pytest

from house.tree import ROOT, nodes

PAGE = (ROOT / "docs" / "SECURITY.md").read_text()
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in PAGE.split("|---", 1)[1].splitlines()[1:]
    if line.startswith("| ")
]
LIMIT = re.compile(r"`(\w+) = ([^`]+)`")


def constant(file: Path, name: str) -> str:
    """The value that a file of Python or JavaScript gives to a constant, evaluated if a number."""
    if file.suffix == ".py":
        for node in nodes(file):
            target = node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and target.id == name and node.value:
                return computed(ast.unparse(node.value))
        raise KeyError(name)
    (value,) = re.findall(rf"^(?:export )?const {name} = ([^;\n]+);", file.read_text(), re.M)
    return computed(value)


def computed(expression: str) -> str:
    """An expression of numbers as one number, without underscores and fractions of zero."""
    assert re.fullmatch(r"[\d_.e *+/()-]+", expression), f"{expression} is no number"
    return f"{eval(expression):.12g}"


def test_the_table_is_read() -> None:
    assert len(ROWS) > 8
    assert {len(row) for row in ROWS} == {6}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_a_file_and_a_test_that_exist(row: list[str]) -> None:
    *_, file, tested = row
    assert (ROOT / file.strip("`")).is_file()
    for path, name in (one.strip("`").split("::") for one in tested.split(", ")):
        defined = {node.name for node in nodes(ROOT / path) if isinstance(node, ast.FunctionDef)}
        assert name in defined, f"{path} has no {name}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_limit_is_the_constant_of_the_file(row: list[str]) -> None:
    limits = LIMIT.findall(row[3])
    assert row[3] == ", ".join(f"`{name} = {value}`" for name, value in limits)
    for name, value in limits:
        assert constant(ROOT / row[4].strip("`"), name) == computed(value), name
