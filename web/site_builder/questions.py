"""The questions of the quiz as they are written: `quiz.toml`, read and checked.

    facts = '''Python that computes the numbers, as in a chapter's facts block'''

    [memory-wall]
    question = "How much …?"

    [[memory-wall.options]]
    answer = "{{ gb(16 * N) }}"
    right = true
    why = "Five numbers a parameter …"
    see = "sixteen-bytes-a-parameter"

A wrong option has, in place of `right`, `slip = "the name of the misconception"`. `see` is an
anchor of the page. All texts are Markdown of one paragraph.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from site_builder.errors import SiteError

_TABLE: Final = re.compile(r"\[\[?([\w.-]+)\]\]?\s*$")
_KEY: Final = re.compile(r"(\w+)\s*=\s*(.*)$")
_FENCES: Final = ("'''", '"""')
_KEY_OF_QUESTION: Final = re.compile(r"[a-z][a-z0-9-]*")
_FEWEST_OPTIONS: Final = 3
PARTS: Final = ("all", "compute", "lie")  # of the quiz's own chapter: `::: quiz all`


@dataclass(frozen=True)
class Text:
    """Markdown, and the line of the file on which it starts."""

    markdown: str
    line: int


@dataclass(frozen=True)
class QuizOption:
    """One answer on offer: why it is right, or by which misconception it is wrong.

    `slip` is None for the right one; `see` is the anchor that explains it.
    """

    answer: Text
    slip: Text | None
    why: Text
    see: Text


@dataclass(frozen=True)
class QuizQuestion:
    """A question with its options, in the order in which they are shown."""

    text: Text
    options: tuple[QuizOption, ...]


@dataclass(frozen=True)
class Questions:
    """The file: its name, the Python of its numbers, and its questions by key."""

    filename: str
    facts: Text
    by_key: dict[str, QuizQuestion]


def read_questions(path: Path) -> Questions:
    """Read `quiz.toml`; raises SiteError with the line for what a reader could not answer."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise SiteError(f"{path.name}:{line[1] if line else 1}", str(error)) from error
    file = _File(path.name, _lines(text))
    facts = Text(given.pop("facts", ""), file.line("", 0, "facts"))
    return Questions(
        path.name, facts, {key: file.question(key, entry) for key, entry in given.items()}
    )


@dataclass(frozen=True)
class _File:
    """Makes questions of TOML tables; `places` says where each key stands."""

    name: str
    places: Mapping[tuple[str, int, str], int]

    def line(self, table: str, number: int, key: str) -> int:
        """The line of a key, or of its table, or the first."""
        return self.places.get((table, number, key)) or self.places.get((table, number, "")) or 1

    def question(self, key: str, entry: Any) -> QuizQuestion:
        """Check one question."""
        line = self.line(key, 0, "")
        if not isinstance(entry, dict) or set(entry) != {"question", "options"}:
            self.refuse(line, f"{key} needs a question and its [[{key}.options]], nothing else")
        if not _KEY_OF_QUESTION.fullmatch(key) or key in PARTS:
            taken = ", ".join(PARTS)
            self.refuse(line, f"{key!r} is no key: use lower case and hyphens, and not {taken}")
        options = tuple(self.option(key, n, each) for n, each in enumerate(entry["options"]))
        right = [option for option in options if option.slip is None]
        if len(right) != 1:
            self.refuse(line, f"{key} has {len(right)} right options; exactly one is right")
        if len(options) < _FEWEST_OPTIONS:
            self.refuse(line, f"{key} has {len(options)} options; give {_FEWEST_OPTIONS} or more")
        return QuizQuestion(self.text(key, 0, "question", entry["question"]), options)

    def option(self, key: str, number: int, entry: dict[str, Any]) -> QuizOption:
        """Check one option of a question."""
        table = f"{key}.options"
        line = self.line(table, number, "")
        kind = "slip" if "slip" in entry else "right"
        wanted = {"answer", kind, "why", "see"}
        if set(entry) != wanted or entry.get("right", True) is not True:
            needs = "an option needs answer, why, see and either right = true or a slip's name"
            self.refuse(line, f"{needs}; this one has {', '.join(sorted(entry)) or 'nothing'}")
        texts = {name: self.text(table, number, name, entry[name]) for name in wanted - {"right"}}
        return QuizOption(texts["answer"], texts.get("slip"), texts["why"], texts["see"])

    def text(self, table: str, number: int, key: str, value: Any) -> Text:
        """Check one text."""
        line = self.line(table, number, key)
        if not isinstance(value, str) or not value.strip():
            self.refuse(line, f"{key} is {value!r}; it must be text")
        return Text(value, line)

    def refuse(self, line: int, problem: str) -> None:
        """Stop the build at a line of the file."""
        raise SiteError(f"{self.name}:{line}", problem)


def _lines(text: str) -> dict[tuple[str, int, str], int]:
    """Where each table stands (key "") and each of its texts starts: (table, which, key) → line."""
    found: dict[tuple[str, int, str], int] = {}
    table, counts, inside = "", {"": 0}, ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if opened := _TABLE.match(line):
            table = opened[1]
            counts[table] = counts.get(table, -1) + 1
            found[table, counts[table], ""] = number
        elif pair := _KEY.match(line):
            fence = next((fence for fence in _FENCES if pair[2].startswith(fence)), "")
            open_still = bool(fence) and fence not in pair[2][3:]
            inside = fence if open_still else ""
            found[table, counts[table], pair[1]] = number + (pair[2] in _FENCES)
    return found
