"""The quiz as HTML that works without a script.

A question stands at its chapter's end (`::: quiz key`) and again among all of them (`::: quiz
all`). It is a fieldset of radio buttons and a fold that explains every option; the script of
`<article-quiz>` shows the explanation of the option that the reader chose. `::: quiz compute` and
`::: quiz lie` show the first exercise of each kind.

The questions are in `quiz.toml`:

    facts = '''Python that computes the numbers, as in a chapter's facts block'''

    [memory-wall]
    question = "How much …?"

    [[memory-wall.options]]
    answer = "{{ gb(16 * N) }}"
    right = true
    why = "Five numbers a parameter …"
    see = "sixteen-bytes-a-parameter"

A wrong option has `slip = "the name of the misconception"` instead of `right`. `see` is an anchor
of the page. Every text is one paragraph of Markdown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final, cast

from markdown_it import MarkdownIt

from site_builder import SiteError
from site_builder.blocks import QUIZ_MARK, PageContext
from site_builder.markdown import ChapterRenderer, make_parser
from unfrozen.exercises import compute_it, find_the_lie

_MARK: Final = re.compile(QUIZ_MARK.format(words="(.*?)", where="(.*?)"))
_HEADING: Final = re.compile(r'<h[34] id="([^"]+)">(.*?) <a class="anchor"')
_FIRST_SEED: Final = 1
_ANOTHER_BUTTON: Final = (
    '<p class="quiz-more"><button type="button" class="button">Another job</button> '
    '<span role="status"></span></p>\n'
)
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
    """One option; `slip` names the misconception behind a wrong one and is None for the right one.

    `why` explains it, and `see` is the anchor of a longer explanation.
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
    """Read `quiz.toml`; raises SiteError with the line of a question that is not well formed."""
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
    """Makes questions of TOML tables; `places` are the lines of their keys."""

    name: str
    places: Mapping[tuple[str, int, str], int]

    def line(self, table: str, number: int, key: str) -> int:
        """Return the line of a key, or of its table, or the first."""
        return self.places.get((table, number, key)) or self.places.get((table, number, "")) or 1

    def question(self, key: str, entry: Any) -> QuizQuestion:
        """Return one question, checked."""
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
        """Return one option of a question, checked."""
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
        """Return one text, checked."""
        line = self.line(table, number, key)
        if not isinstance(value, str) or not value.strip():
            self.refuse(line, f"{key} is {value!r}; it must be text")
        return Text(value, line)

    def refuse(self, line: int, problem: str) -> None:
        """Stop the build at a line of the file."""
        raise SiteError(f"{self.name}:{line}", problem)


def _lines(text: str) -> dict[tuple[str, int, str], int]:
    """Return the line of each table (key "") and text: (table, index, key) → line."""
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


@dataclass(frozen=True)
class OptionMarkup:
    """An option as HTML."""

    answer: str
    is_right: bool
    why: str


class Quiz:
    """Renders the questions of one file, each wherever a block asks for it."""

    def __init__(self, path: Path, context: PageContext) -> None:
        """Read the file and compute its numbers; raises SiteError with its line."""
        self._source = read_questions(path)
        self._context = context
        renderer = ChapterRenderer(path.name, context)
        facts = self._source.facts
        renderer.expressions.define(facts.markdown, path.name, facts.line)
        self._parser: MarkdownIt = make_parser(renderer)
        self._titles: dict[str, str] = {}

    def fill(self, html: str, chapters: dict[str, str]) -> str:
        """Replace the marks of `::: quiz`; `chapters` are titles by anchor."""
        figures = {
            f"fig-{name}": f"<!--figure:{name}:quiz.toml-->" for name in self._context.figures
        }
        self._titles = {**chapters, **dict(_HEADING.findall(html)), **figures}
        return _MARK.sub(lambda mark: self._block(mark[1], mark[2]), html)

    def _block(self, words: str, where: str) -> str:
        questions = self._source.by_key
        if words == "all":
            return _quiz("".join(self._question(key, f"quiz-{key}-again") for key in questions))
        if words == "compute":
            return self._compute(where)
        if words == "lie":
            return self._lie(where)
        if words not in questions:
            known = ", ".join([*PARTS, *questions])
            raise SiteError(where, f"no question is called {words!r}; there are {known}")
        return _quiz(self._question(words, f"quiz-{words}"), f' id="quiz-{words}"')

    def _question(self, key: str, name: str) -> str:
        question = self._source.by_key[key]
        options = [self._option(option) for option in question.options]
        return _fieldset(self._html(question.text), options, name)

    def _option(self, option: QuizOption) -> OptionMarkup:
        link = self._link(option.see)
        head = "<b>Right.</b>"
        if option.slip is not None:
            head = f"<b>Not so: {self._html(option.slip)}.</b>"
        return OptionMarkup(
            self._html(option.answer),
            option.slip is None,
            f"{head} {self._html(option.why)} {link}",
        )

    def _link(self, see: Text) -> str:
        anchor = see.markdown
        if anchor not in self._titles:
            where = f"{self._source.filename}:{see.line}"
            raise SiteError(where, f"no heading or figure has the id {anchor!r}")
        return f'<a href="#{anchor}">{self._titles[anchor]}</a>'

    def _html(self, text: Text) -> str:
        """Return one paragraph of Markdown as HTML without its <p>; errors name its own line."""
        source = "\n" * (text.line - 1) + text.markdown
        html: str = self._parser.render(source, {"notes": 0}).strip()
        inner = html.removeprefix("<p>").removesuffix("</p>")
        if len(inner) != len(html) - 7 or "<p>" in inner:
            where = f"{self._source.filename}:{text.line}"
            raise SiteError(where, "a text of the quiz is one paragraph")
        return inner

    def _compute(self, where: str) -> str:
        given = compute_it.as_json(_FIRST_SEED)
        drawn = self._context.queue.add(where, "exercise", data=given)
        seeds = f'data-seed="{given["seed"]}" data-next="{given["next"]}"'
        return f"<compute-it {seeds}>\n{drawn}\n{_ANOTHER_BUTTON}</compute-it>\n"

    def _lie(self, where: str) -> str:
        """Return the first lie, as a question; the script shows others."""
        given: Any = find_the_lie.as_json(_FIRST_SEED)
        options = [
            self._link_answer(option, where) for option in cast("list[Any]", given["options"])
        ]
        asked = _fieldset(escape(given["question"], quote=False), options, "quiz-lie")
        story = escape(given["story"], quote=False)
        opened = f'<find-the-lie data-next="{given["next"]}">\n<p class="quiz-story">{story}</p>\n'
        return f"{opened}{_quiz(asked)}{_ANOTHER_BUTTON}</find-the-lie>\n"

    def _link_answer(self, option: dict[str, Any], where: str) -> OptionMarkup:
        anchor, title = option["see"]
        if anchor[1:] not in self._titles:
            raise SiteError(where, f"the lie points to {anchor}, which no heading or figure has")
        head, why = ("Right." if option["right"] else "Not so."), escape(option["why"], quote=False)
        link = f'<a href="{anchor}">{title}</a>'
        explanation = f"<b>{head}</b> <span>{why}</span> {link}"
        return OptionMarkup(escape(option["text"], quote=False), option["right"], explanation)


def _quiz(questions: str, attributes: str = "") -> str:
    return f"<article-quiz{attributes}>\n{questions}</article-quiz>\n"


def _fieldset(legend: str, options: list[OptionMarkup], name: str) -> str:
    """Return a question: its options as radio buttons of this name, and their explanations."""
    radio = f'<input type="radio" name="{name}">'
    choices = [f"<li><label>{radio} <span>{each.answer}</span></label></li>" for each in options]
    whys = [f"<li{' data-right' if each.is_right else ''}>{each.why}</li>" for each in options]
    parts = ["<fieldset>", f"<legend>{legend}</legend>", "<ol>", *choices, "</ol>"]
    parts += ['<p class="quiz-explanation" role="status"></p>']  # filled by the script
    parts += ["<details><summary>Answer</summary>", "<ol>", *whys, "</ol>", "</details>"]
    return "\n".join([*parts, "</fieldset>\n"])
