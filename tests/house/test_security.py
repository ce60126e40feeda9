"""docs/SECURITY.md is true: each of its tests exists, each of its limits is the code's."""

import ast
import re
from pathlib import Path

import pytest

from house.tree import ROOT, nodes, tracked

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
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
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


ESCAPED = ("printable(", "json.dumps(", "program()", "short(", "counted(", "installed_version()")
"""Calls whose answer is safe to print, from our own words or escaped."""
OWN_WORDS = {  # what else is printed: numbers, and texts that are ours or were escaped before
    "cli/command_line.py": {"welcome()"},
    "cli/commands.py": {"size", "served", "'it' if len(done) == 1 else 'them'"},
    "cluster.py": {"rank", "code", "meaning"},
    "installed.py": {"setup.seconds", "doing"},
    "machine/selftest/steps.py": {"LOSSES"},
    "serve/app.py": {"names", "self._address", "warning"},
}


def printed(node: ast.AST) -> list[ast.expr]:
    """The parts of what a call prints: of an f-string what is filled in."""
    if not isinstance(node, ast.Call) or not node.args:
        return []
    if ast.unparse(node.func) not in ("print", "typer.echo", "typer.secho"):
        return []
    parts = [node.args[0]]
    while any(isinstance(part, ast.JoinedStr | ast.FormattedValue) for part in parts):
        parts = [
            inner
            for part in parts
            for inner in (
                part.values
                if isinstance(part, ast.JoinedStr)
                else [part.value]
                if isinstance(part, ast.FormattedValue)
                else [part]
            )
        ]
    return [part for part in parts if not isinstance(part, ast.Constant)]


def test_whatever_is_printed_is_escaped() -> None:
    top, count, raw = ROOT / "py" / "gpu_runner", 0, []
    for path in (path for path in tracked("*.py") if path.is_relative_to(top)):
        name = str(path.relative_to(top))
        for part in (part for node in nodes(path) for part in printed(node)):
            text, count = ast.unparse(part), count + 1
            if not text.startswith(ESCAPED) and text not in OWN_WORDS.get(name, ()):
                raw.append(f"{name}: {text}")
    assert count > 30
    assert not raw


def test_every_terminal_is_one_that_escapes() -> None:
    made = re.compile(r"\bConsole\((?!quiet=True\)|\):)")
    found = [path for path in tracked("*.py") if path.is_relative_to(ROOT / "py")]
    raw = [str(path) for path in found if made.search(path.read_text())]
    assert not raw, "use gpu_runner.text.make_console"


def test_no_command_of_the_page_has_a_name_without_quotes() -> None:
    bare = re.compile(r"`[^`]*\b(?:unfrozen|gpu_runner) \w+ \$\{(?!quoteForShell\()[^`]*`")
    scripts = [path for path in tracked("*.js") if path.is_relative_to(ROOT / "web")]
    assert len(scripts) > 50
    assert not [found for path in scripts for found in bare.findall(path.read_text())]
