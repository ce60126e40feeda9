"""Names, logs and answers come from anywhere: what a terminal shows of them, and what one types.

Whatever is printed is escaped here, once: by `printable`, and for tables and progress by the
console of `gpu_runner.text`, which calls it.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that control a terminal or have no width, and surrogates that cannot be encoded."""
_UNTYPED: Final = re.compile(rf"[\t\n]|{_CONTROL.pattern}")


def printable(text: str, *, lines: bool = False) -> str:
    """Return untrusted text with control characters escaped: one line, unless it may have more."""
    shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return shown if lines else shown.replace("\n", r"\n")


def typed(word: str) -> str:
    """Return a word as one types it in a shell, without a character that controls the terminal."""
    if not _UNTYPED.search(word):
        return shlex.quote(word)
    plain = word.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{_UNTYPED.sub(_escape, plain)}'"


def _escape(found: re.Match[str]) -> str:
    """Return a character as bash and zsh read it; what is no UTF-8 as its byte."""
    code = ord(found[0])
    return rf"\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else rf"\U{code:08x}"
