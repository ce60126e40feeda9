"""Inline expressions: `{{ gb(total) }}` in prose is computed when the site is built.

A `python facts` block imports `unfrozen` and defines a chapter's names; it is not shown. Double
braces contain a Jinja expression over those names and the functions of `site_builder.formats`, so
that no number in prose is typed by hand.

In a slider block the reader changes a name, and every sentence is computed here:

    ::: slider N in sizes from 7e9 as count: Parameters
    A model of {{ count(N) }} parameters needs {{ gb(16 * N) }}.
    :::

A slider has a name, a list of values, an initial one, a function that formats it, and a label;
semicolons separate sliders. The page carries the text of every expression at
every combination of values, and `<prose-slider>` looks it up. Without scripts the initial sentence
stays.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from html import escape
from itertools import product
from types import MappingProxyType
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Undefined

from site_builder import SiteError, formats
from site_builder.rendering import embed_json

EXPRESSION: Final = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)
MAX_COMBINATIONS: Final = 200
_FORMATS: Final = {
    name: getattr(formats, name)
    for name in ("gb", "gib", "trimmed", "percent", "times", "count", "word", "rate")
}
_NO_NAMES: Final[Mapping[str, Any]] = MappingProxyType({})
_SLIDER: Final = re.compile(r"(\w+) in (.+?) from (.+?) as (\w+): (.+)")


class Expressions:
    """The names of one chapter; in errors, `where` is "chapter.md:line"."""

    def __init__(self) -> None:
        """Start with the formats only."""
        self._names: dict[str, Any] = {"__name__": "facts"}
        environment = Environment(undefined=StrictUndefined, autoescape=False)
        self._compile = cache(partial(environment.compile_expression, undefined_to_none=False))

    def define(self, source: str, filename: str, first_line: int) -> None:
        """Run a facts block; raises SiteError with its traceback at the line that failed."""
        padded = "\n" * (first_line - 1) + source
        try:
            exec(compile(padded, filename, "exec"), self._names)
        except Exception as raised:
            line = _line_in(raised, filename) or first_line
            report = "".join(traceback.format_exception(raised)).rstrip()
            raise SiteError(f"{filename}:{line}", f"a facts block failed\n{report}") from raised

    def evaluate(self, expression: str, where: str, names: Mapping[str, Any] = _NO_NAMES) -> Any:
        """Return the value of an expression; `names` take precedence over those of the chapter.

        Raises SiteError when it cannot be computed.
        """
        try:
            value = self._compile(expression)(**{**_FORMATS, **self._names, **names})
            if isinstance(value, Undefined):
                str(value)  # raises, and names what is missing
            return value
        except Exception as raised:
            problem = f"cannot compute {{{{{expression}}}}}: {type(raised).__name__}: {raised}"
            raise SiteError(where, problem) from raised

    def fill(self, text: str, where: str) -> str:
        """Replace every `{{ … }}` in a text that is not Markdown, such as a formula."""
        return EXPRESSION.sub(lambda match: str(self.evaluate(match[1], where)), text)


def _line_in(raised: BaseException, filename: str) -> int | None:
    """Return the last line of `filename` in a traceback, or None."""
    if isinstance(raised, SyntaxError):
        return raised.lineno
    frames = traceback.extract_tb(raised.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == filename), None)


@dataclass(frozen=True, slots=True)
class Slider:
    """One slider: the name it sets, its values and their texts, the index of the initial one."""

    name: str
    label: str
    values: list[Any]
    texts: list[str]
    start: int

    @classmethod
    def parse(cls, declaration: str, expressions: Expressions, where: str) -> Slider:
        """Read "NAME in VALUES from INITIAL as FORMAT: LABEL"; raises SiteError."""
        match = _SLIDER.fullmatch(declaration)
        if match is None:
            remedy = "::: slider N in sizes from 7e9 as count: Parameters"
            raise SiteError(where, f"cannot read the slider {declaration!r}; write it as {remedy}")
        name, values, start, form, label = match.groups()
        values = list(expressions.evaluate(values, where))
        first = expressions.evaluate(start, where)
        if first not in values:
            raise SiteError(where, f"the slider {name} starts at {first!r}, not one of its values")
        texts = [
            str(expressions.evaluate(f"{form}({name})", where, {name: value})) for value in values
        ]
        return cls(name, label, values, texts, values.index(first))


@dataclass
class SliderBlock:
    """A slider block while it is rendered: its sliders, and the texts of its expressions."""

    sliders: list[Slider]
    expressions: Expressions
    texts: list[list[str]] = field(default_factory=list)

    @classmethod
    def parse(cls, info: str, expressions: Expressions, where: str) -> SliderBlock:
        """Read what follows the block's name; raises SiteError that says how to write it."""
        block = cls(
            [Slider.parse(part.strip(), expressions, where) for part in info.split(";")],
            expressions,
        )
        count = len(block.combinations)
        if count > MAX_COMBINATIONS:
            problem = f"has {count} sentences, {MAX_COMBINATIONS} at most: give it fewer values"
            raise SiteError(where, f"::: slider {problem}")
        return block

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The names at every combination of values; the last slider changes first."""
        names = [slider.name for slider in self.sliders]
        values = product(*(slider.values for slider in self.sliders))
        return [dict(zip(names, chosen, strict=True)) for chosen in values]

    @property
    def start(self) -> int:
        """The index of the initial combination."""
        index = 0
        for slider in self.sliders:
            index = index * len(slider.values) + slider.start
        return index

    def render_expression(self, expression: str, where: str) -> str:
        """Return the initial text, marked for `<prose-slider>` if a slider changes it."""
        texts = [
            str(self.expressions.evaluate(expression, where, names)) for names in self.combinations
        ]
        initial = escape(texts[self.start], quote=False)
        if len(set(texts)) == 1:
            return initial
        self.texts.append(texts)
        return f'<span class="slid">{initial}</span>'

    def close(self, where: str) -> str:
        """Return what follows the text: room for the controls, and every sentence as data."""
        if not self.texts:
            raise SiteError(where, "::: slider changes nothing: no {{ … }} in it depends on it")
        sliders = [
            {"label": slider.label, "texts": slider.texts, "start": slider.start}
            for slider in self.sliders
        ]
        sentences = [list(row) for row in zip(*self.texts, strict=True)]
        data = embed_json({"sliders": sliders, "sentences": sentences}, "data")
        rows = '<div class="slider-row"></div>' * len(self.sliders)
        return f'<div class="slider-controls">{rows}</div>\n{data}</prose-slider>\n'
