"""The quiz as HTML that works without a script.

A question stands at its chapter's end (`::: quiz key`); `::: quiz all` is a list that leads to
each. It is a fieldset of radio buttons and a fold that explains every option; the script of
`<article-quiz>` shows the explanation of the option that the reader chose. `::: quiz compute`
shows the first exercise.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from site_builder import SiteError
from site_builder.blocks import QUIZ_MARK, PageContext
from site_builder.markdown import ChapterRenderer, make_parser
from unfrozen.exercises import compute_it

_MARK: Final = re.compile(QUIZ_MARK.format(words="(.*?)", where="(.*?)"))
_HEADING: Final = re.compile(r'<h[34] id="([^"]+)">(.*?) <a class="anchor"')
_FIRST_SEED: Final = 1
_ANOTHER_BUTTON: Final = (
    '<p class="row quiz-more faint"><button type="button" class="button">Another job</button> '
    '<span role="status"></span></p>\n'
)
_TAG: Final = re.compile(r"<[^>]+>")
_KEY: Final = re.compile(r"[a-z][a-z0-9-]*")
_MIN_OPTIONS: Final = 3
PARTS: Final = ("all", "compute")
"""Arguments of `::: quiz` that are not the key of a question."""


@dataclass(frozen=True)
class QuizOption:
    """One option; `slip` names the misconception behind a wrong one and is None for the right one.

    `why` explains it, and `see` is the anchor of a longer explanation.
    """

    answer: str
    slip: str | None
    why: str
    see: str


@dataclass(frozen=True)
class QuizQuestion:
    """A question with its options, in the order in which they are shown."""

    text: str
    options: tuple[QuizOption, ...]


def read_questions(path: Path) -> tuple[str, dict[str, QuizQuestion]]:
    """Return the facts of `quiz.toml` and its questions by key.

    Raises SiteError, which names the question and the option, for what is not well formed.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise SiteError(path.name, str(error)) from error
    facts = given.pop("facts", "")
    return facts, {
        key: _read_question(key, entry, f"{path.name} [{key}]") for key, entry in given.items()
    }


def _read_question(key: str, entry: Any, where: str) -> QuizQuestion:
    if not isinstance(entry, dict) or set(entry) != {"question", "options"}:
        raise SiteError(where, f"needs a question and its [[{key}.options]], nothing else")
    if not _KEY.fullmatch(key) or key in PARTS:
        taken = ", ".join(PARTS)
        raise SiteError(where, f"{key!r} is no key: use lower case and hyphens, and not {taken}")
    options = tuple(
        _read_option(option, f"{where} option {number}")
        for number, option in enumerate(entry["options"], 1)
    )
    right = [option for option in options if option.slip is None]
    if len(right) != 1:
        raise SiteError(where, f"has {len(right)} right options; exactly one is right")
    if len(options) < _MIN_OPTIONS:
        raise SiteError(where, f"has {len(options)} options; give {_MIN_OPTIONS} or more")
    return QuizQuestion(_read_text(entry, "question", where), options)


def _read_option(entry: dict[str, Any], where: str) -> QuizOption:
    wanted = {"answer", "slip" if "slip" in entry else "right", "why", "see"}
    if set(entry) != wanted or entry.get("right", True) is not True:
        needs = "needs answer, why, see and either right = true or a slip's name"
        raise SiteError(where, f"{needs}; it has {', '.join(sorted(entry)) or 'nothing'}")
    return QuizOption(
        answer=_read_text(entry, "answer", where),
        slip=_read_text(entry, "slip", where) if "slip" in entry else None,
        why=_read_text(entry, "why", where),
        see=_read_text(entry, "see", where),
    )


def _read_text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise SiteError(where, f"{key} is {value!r}; it must be text")
    return value


@dataclass(frozen=True)
class OptionMarkup:
    """An option as HTML."""

    answer: str
    is_right: bool
    why: str


class Quiz:
    """Renders the questions of one file, each wherever a block asks for it."""

    def __init__(self, path: Path, context: PageContext) -> None:
        """Read the file and compute its numbers; raises SiteError."""
        self._name = path.name
        facts, self._questions = read_questions(path)
        self._context = context
        self._renderer = ChapterRenderer(path.name, context)
        self._renderer.expressions.define(facts, f"{path.name} facts", 1)
        self._parser = make_parser(self._renderer)
        self._titles: dict[str, str] = {}

    def fill(self, html: str, chapters: dict[str, str]) -> str:
        """Replace the marks of `::: quiz`; `chapters` are titles by anchor."""
        figures = {
            f"fig-{name}": f"<!--figure:{name}:{self._name}-->" for name in self._context.figures
        }
        self._titles = {**chapters, **dict(_HEADING.findall(html)), **figures}
        return _MARK.sub(lambda mark: self._block(mark[1], mark[2]), html)

    def _block(self, part: str, where: str) -> str:
        questions = self._questions
        if part == "all":
            return self._list()
        if part == "compute":
            return self._compute(where)
        if part not in questions:
            known = ", ".join([*PARTS, *questions])
            raise SiteError(where, f"no question is called {part!r}; there are {known}")
        return _quiz(self._question(part, f"quiz-{part}"), f' id="quiz-{part}"')

    def _list(self) -> str:
        """Return links to all questions; what a question emphasizes or links is plain here."""
        asked = {key: self._html(q.text, self._name) for key, q in self._questions.items()}
        links = [f'<li><a href="#quiz-{k}">{_TAG.sub("", q)}</a></li>' for k, q in asked.items()]
        return "\n".join(['<ol class="quiz-list">', *links, "</ol>\n"])

    def _question(self, key: str, name: str) -> str:
        question, where = self._questions[key], f"{self._name} [{key}]"
        options = [
            self._option(option, f"{where} option {number}")
            for number, option in enumerate(question.options, 1)
        ]
        return _fieldset(self._html(question.text, where), options, name)

    def _option(self, option: QuizOption, where: str) -> OptionMarkup:
        head = "<b>Right.</b>"
        if option.slip is not None:
            head = f"<b>Not so: {self._html(option.slip, where)}.</b>"
        if option.see not in self._titles:
            raise SiteError(where, f"no heading or figure has the id {option.see!r}")
        link = f'<a href="#{option.see}">{self._titles[option.see]}</a>'
        return OptionMarkup(
            self._html(option.answer, where),
            option.slip is None,
            f"{head} {self._html(option.why, where)} {link}",
        )

    def _html(self, text: str, where: str) -> str:
        """Return one paragraph of Markdown as HTML without its <p>."""
        self._renderer.filename = where
        html: str = self._parser.render(text, {"notes": 0}).strip()
        inner = html.removeprefix("<p>").removesuffix("</p>")
        if len(inner) != len(html) - 7 or "<p>" in inner:
            raise SiteError(where, "a text of the quiz is one paragraph")
        return inner

    def _compute(self, where: str) -> str:
        given = compute_it.as_json(_FIRST_SEED)
        drawn = self._context.queue.add(where, "exercise", data=given)
        seeds = f'data-seed="{given["seed"]}" data-next="{given["next"]}"'
        return f"<compute-it {seeds}>\n{drawn}\n{_ANOTHER_BUTTON}</compute-it>\n"


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
