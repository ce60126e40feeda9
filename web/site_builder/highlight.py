"""Source code as spans with short class names; the colours stand in style/base/tokens.css."""

from __future__ import annotations

from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from site_builder.errors import SiteError


def highlighted(source: str, language: str, where: str) -> str:
    """Mark up `source`, changing no character of its text; SiteError for an unknown language."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound as raised:
        raise SiteError(where, f"no highlighter for a block marked {language!r}") from raised
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True)))
