"""The quiz as HTML: complete without a script, and ready for one.

A question stands at its chapter's end (`::: quiz key`) and again among all of them (`::: quiz
all`). It is a fieldset of radios, and a fold with what is to be said of every option; the script
of `<article-quiz>` shows a reader what is said of the option they choose. `::: quiz compute` and
`::: quiz lie` stand for the first exercise of each kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

from markdown_it import MarkdownIt

from site_builder.blocks import QUIZ_MARK
from site_builder.context import PageContext
from site_builder.errors import SiteError
from site_builder.questions import PARTS, QuizOption, QuizQuestion, Text, read_questions
from site_builder.rules import ChapterRules, make_parser
from unfrozen.exercises import compute_it, find_the_lie

_MARK = re.compile(QUIZ_MARK.format(words="(.*?)", where="(.*?)"))
_HEADING = re.compile(r'<h[34] id="([^"]+)">(.*?) <a class="anchor"')
_FIRST_SEED = 1
_MORE = (
    '<p class="quiz-more"><button type="button" class="button">Another job</button> '
    '<span role="status"></span></p>\n'
)


@dataclass(frozen=True)
class Drawn:
    """An option as it is shown: all of it HTML."""

    answer: str
    is_right: bool
    why: str


class Quiz:
    """Prints the questions of one file, each in as many places as ask for it."""

    def __init__(self, path: Path, context: PageContext) -> None:
        """Read the file and compute its numbers; raises SiteError with its line."""
        self._source = read_questions(path)
        self._context = context
        rules = ChapterRules(path.name, context)
        rules.facts.define(self._source.facts.markdown, path.name, self._source.facts.line)
        self._parser: MarkdownIt = make_parser(rules)
        self._titles: dict[str, str] = {}

    def fill(self, html: str, chapters: dict[str, str]) -> str:
        """Put the questions where `::: quiz` stands; `chapters` are titles by anchor."""
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
        question: QuizQuestion = self._source.by_key[key]
        options = [self._option(option) for option in question.options]
        return _fieldset(self._html(question.text), options, name)

    def _option(self, option: QuizOption) -> Drawn:
        link = self._link(option.see)
        head = "<b>Right.</b>"
        if option.slip is not None:
            head = f"<b>Not so: {self._html(option.slip)}.</b>"
        return Drawn(
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
        """One paragraph of Markdown without its <p>; errors in it name its own line."""
        source = "\n" * (text.line - 1) + text.markdown
        html: str = self._parser.render(source, {"notes": 0}).strip()
        inner = html.removeprefix("<p>").removesuffix("</p>")
        if len(inner) != len(html) - 7 or "<p>" in inner:
            where = f"{self._source.filename}:{text.line}"
            raise SiteError(where, "a text of the quiz is one paragraph")
        return inner

    def _compute(self, where: str) -> str:
        """The first exercise."""
        given = compute_it.as_json(_FIRST_SEED)
        drawn = self._context.renderings.add(where, "exercise", data=given)
        seeds = f'data-seed="{given["seed"]}" data-next="{given["next"]}"'
        return f"<compute-it {seeds}>\n{drawn}\n{_MORE}</compute-it>\n"

    def _lie(self, where: str) -> str:
        """The first lie, drawn as any question; the script fills in others."""
        given: Any = find_the_lie.as_json(_FIRST_SEED)
        options = [self._told(option, where) for option in cast("list[Any]", given["options"])]
        asked = _fieldset(escape(given["question"], quote=False), options, "quiz-lie")
        story = escape(given["story"], quote=False)
        opened = f'<find-the-lie data-next="{given["next"]}">\n<p class="quiz-story">{story}</p>\n'
        return f"{opened}{_quiz(asked)}{_MORE}</find-the-lie>\n"

    def _told(self, option: dict[str, Any], where: str) -> Drawn:
        anchor, title = option["see"]
        if anchor[1:] not in self._titles:
            raise SiteError(where, f"the lie points to {anchor}, which no heading or figure has")
        head, why = ("Right." if option["right"] else "Not so."), escape(option["why"], quote=False)
        link = f'<a href="{anchor}">{title}</a>'
        told = f"<b>{head}</b> <span>{why}</span> {link}"
        return Drawn(escape(option["text"], quote=False), option["right"], told)


def _quiz(questions: str, attributes: str = "") -> str:
    return f"<article-quiz{attributes}>\n{questions}</article-quiz>\n"


def _fieldset(legend: str, options: list[Drawn], name: str) -> str:
    """A question: its options as radios of this name, and the fold with what is said of each."""
    radio = f'<input type="radio" name="{name}">'
    choices = [f"<li><label>{radio} <span>{each.answer}</span></label></li>" for each in options]
    told = [f"<li{' data-right' if each.is_right else ''}>{each.why}</li>" for each in options]
    parts = ["<fieldset>", f"<legend>{legend}</legend>", "<ol>", *choices, "</ol>"]
    parts += ['<p class="quiz-said" role="status"></p>']  # before its words are
    parts += ["<details><summary>Answer</summary>", "<ol>", *told, "</ol>", "</details>"]
    return "\n".join([*parts, "</fieldset>\n"])
