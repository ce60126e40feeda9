"""Functions fit a screen; files have telling names and hold no address of this workplace."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from house.tree import ROOT, nodes, tracked

WRITTEN = ("*.py", "*.js", "*.mjs", "*.css", "*.md", "*.j2", "*.toml")
LONGEST_FUNCTION_LINES = 40
LONGEST_DECISION_LINES = 30
STARTS = re.compile(r"^( *)(?:((?:async )?def )|class |@)|\Z", re.MULTILINE)
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc"}
# In brackets, so that this file does not hold what it forbids.
PACKAGE_HOSTS = re.compile(
    r"registry[.]npmjs|registry[.]yarnpkg|pypi[.]org|pythonhosted[.]org|download[.]pytorch"
    r"|jsdelivr[.]net|unpkg[.]com|cdnjs[.]|esm[.]sh|skypack[.]dev|fonts[.]g(oogleapis|static)"
)
WORKPLACE = re.compile(r"/[w]ork/(main|shared|notes)|[n]otes/contract|\b[i]ssue #?2\b|[b]ash_jobs")


def text_files() -> list[Path]:
    """All tracked files a person or a tool reads as text."""
    binary = {".safetensors", ".png", ".woff2", ".gguf", ".ico", ".jpg"}
    return [path for path in tracked() if path.suffix not in binary]


def may_hold_a_long_function(path: Path) -> bool:
    """Whether a function of a Python file begins far above what follows it: few are parsed."""
    text, begun = path.read_text(), list[tuple[int, int]]()
    for start in STARTS.finditer(text):
        while begun and begun[-1][0] >= len(start[1] or ""):
            if text.count("\n", begun.pop()[1], start.start()) > LONGEST_FUNCTION_LINES:
                return True
        if start[2]:
            begun.append((len(start[1]), start.start()))
    return False


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a Python file: its name, and the lines after signature and docstring."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)} {name}: {lines}"
        for path in filter(may_hold_a_long_function, tracked("*.py"))
        for name, lines in functions(path)
        if lines > LONGEST_FUNCTION_LINES
    ]
    assert not long


def test_no_module_has_a_vague_name() -> None:
    assert not [path for path in tracked(*WRITTEN) if path.stem.lower() in VAGUE]


def test_no_file_names_a_package_host_or_a_cdn() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in text_files()
        if (match := PACKAGE_HOSTS.search(path.read_text()))
    ]
    assert not named


def test_no_file_tells_where_it_was_written() -> None:
    told = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in text_files()
        if (match := WORKPLACE.search(path.read_text()))
    ]
    assert not told


def test_no_tracked_file_is_large() -> None:
    large = [path for path in tracked() if path.stat().st_size > 8 * 1024 * 1024]
    assert not large


def decisions() -> list[Path]:
    """The decision records."""
    return [path for path in tracked("*.md") if path.parent == ROOT / "docs" / "decisions"]


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_a_decision_is_short_and_says_context_decision_consequence(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_DECISION_LINES
    for part in ("# ", "**Context.**", "**Decision.**", "**Consequence.**"):
        assert part in text
