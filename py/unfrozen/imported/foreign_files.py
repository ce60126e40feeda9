"""A run from the bytes of its file, whichever tool wrote it."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from unfrozen.errors import ForeignFileError
from unfrozen.imported.csv_table import read_table
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.tools import EXPECTED
from unfrozen.imported.trainer import read_trainer_state

MOST_BYTES: Final = 64 * 2**20
_HEAD_BYTES: Final = 16
_OWN: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{"v":\d')
_WORDS: Final = re.compile(r"[\w\"' ][^\x00-\x08\x0b\x0c\x0e-\x1f]*")


def read_foreign(file: str, data: bytes) -> ForeignRun:
    """Return the run in the file of this name. Raises `ForeignFileError`."""
    if len(data) > MOST_BYTES:
        problem = f"it has more than {MOST_BYTES:,} bytes"
        remedy = "no log of training needs as many: is it another file?"
        raise ForeignFileError(file, problem, remedy, MOST_BYTES)
    read = _reader(file, data[:_HEAD_BYTES])
    try:  # editors of Windows put a byte-order mark in front
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        remedy = "save it as UTF-8, or copy it again"
        raise ForeignFileError(file, "it is not UTF-8", remedy, error.start) from None
    return read(file, text, sha256(data).hexdigest())


def _reader(file: str, head: bytes) -> Callable[[str, str, str], ForeignRun]:
    """Return what reads a file that begins like this."""
    if _OWN.match(head):
        remedy = "the page opens it as it is, and a folder with it under the runs is a run"
        raise ForeignFileError(file, "it is a log of Unfrozen already", remedy)
    plain = head.removeprefix(BOM_UTF8)
    if plain.lstrip().startswith(b"{"):
        return read_trainer_state
    if _WORDS.fullmatch(plain.decode(errors="ignore")):
        return read_table
    problem = "it is empty" if not head else "it is of no tool that is known here"
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        problem = "it is UTF-16: save it as UTF-8"
    raise ForeignFileError(file, problem, EXPECTED, 0)
