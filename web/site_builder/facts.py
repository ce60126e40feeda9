"""The computed words of a chapter: `facts` blocks define names, `{{ … }}` in prose reads them.

A facts block is Python that imports `unfrozen`; nothing of it is printed. Between double braces
stands a Jinja expression over those names and the functions of `site_builder.formats`, so that no
number in prose is typed by hand.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Undefined

from site_builder import formats
from site_builder.errors import SiteError

EXPRESSION = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)
_FORMATS = {
    name: getattr(formats, name)
    for name in ("gb", "gib", "kb", "trimmed", "percent", "times", "count", "word", "rate")
}

_NO_NAMES: Final[Mapping[str, Any]] = MappingProxyType({})


class Facts:
    """One chapter's names. `where` in the methods is "chapter.md:line", for errors."""

    def __init__(self) -> None:
        """Start with the formats only."""
        self._names: dict[str, Any] = {"__name__": "facts"}
        self._environment = Environment(undefined=StrictUndefined, autoescape=False)

    def define(self, source: str, filename: str, first_line: int) -> None:
        """Run a facts block; raises SiteError with its traceback at the chapter's own line."""
        padded = "\n" * (first_line - 1) + source
        try:
            exec(compile(padded, filename, "exec"), self._names)
        except Exception as raised:
            line = _line_in(raised, filename) or first_line
            report = "".join(traceback.format_exception(raised)).rstrip()
            raise SiteError(f"{filename}:{line}", f"a facts block failed\n{report}") from raised

    def value(self, expression: str, where: str, names: Mapping[str, Any] = _NO_NAMES) -> str:
        """Evaluate what stands between double braces, as text; `names` hide those of the chapter.

        Raises SiteError.
        """
        return str(self.evaluate(expression, where, names))

    def evaluate(self, expression: str, where: str, names: Mapping[str, Any] = _NO_NAMES) -> Any:
        """As `value`, for what is no text yet."""
        try:
            compiled = self._environment.compile_expression(expression, undefined_to_none=False)
            found = compiled(**{**_FORMATS, **self._names, **names})
            if isinstance(found, Undefined):
                str(found)  # raises, and says which name is missing
            return found
        except Exception as raised:
            problem = f"cannot compute {{{{{expression}}}}}: {type(raised).__name__}: {raised}"
            raise SiteError(where, problem) from raised

    def fill(self, text: str, where: str) -> str:
        """Replace every `{{ … }}` in a text that is not Markdown, such as a formula."""
        return EXPRESSION.sub(lambda match: self.value(match[1], where), text)


def _line_in(raised: BaseException, filename: str) -> int | None:
    """Find the last line of `filename` in a traceback; None when it has no part in it."""
    if isinstance(raised, SyntaxError):
        return raised.lineno
    frames = traceback.extract_tb(raised.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == filename), None)
