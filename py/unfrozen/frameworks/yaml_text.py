"""YAML as configs use it, by the standard library alone; scalars as PyYAML reads them (YAML 1.1).

Block and flow collections, plain, quoted and block scalars, anchors, aliases and merge keys, of the
first document. Tags are refused by name, as are complex keys; depth is bounded, and so is what
aliases repeat. Dates stay text. Lines end at line feeds alone, as in YAML 1.2: U+2028 is text.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from unfrozen.errors import MOST_DEEP, PlanError

MOST_NODES: Final = 100_000
"""Values of a document, those that aliases repeat among them."""
MOST_DIGITS: Final = 4_000
"""Of a number; a longer one stays text."""
_BOOLEANS: Final = {
    **dict.fromkeys(("yes", "true", "on"), True),
    **dict.fromkeys(("no", "false", "off"), False),
}
_INTEGERS: Final[tuple[tuple[str, Callable[[str], int | float]], ...]] = (
    (r"[-+]?0b[01_]+", lambda text: int(text, 2)),
    (r"[-+]?0x[0-9a-fA-F_]+", lambda text: int(text, 16)),
    (r"[-+]?0[0-7_]+", lambda text: int(text, 8)),
    (r"[-+]?(?:0|[1-9][0-9_]*)", int),
    (r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?", float),
    (r"\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?", float),
)
_MERGE: Final = object()
"""The key << without quotation marks."""
_ENDLESS: Final = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_SIXTIES: Final = re.compile(r"([-+]?)([0-9][0-9_]*(?::[0-5]?[0-9])+)(\.[0-9_]*)?")
_KEY_END: Final = re.compile(r":(?=\s|$)")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_QUOTED: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_HEAD: Final = re.compile(r"[|>]([-+]?)([1-9]?)([-+]?)\s*(?:#.*)?$")
_ESCAPES: Final = {
    **{"0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f"},
    **{"r": "\r", "e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85"},
    **{"_": "\xa0", "L": "\u2028", "P": "\u2029"},
}
_ESCAPE: Final = re.compile(r"\\(?:x(..)|u(.{4})|U(.{8})|\n[ \t]*|(.))", re.DOTALL)


def read_yaml(text: str) -> object:
    """Return the first document of a text as plain data. Raises PlanError with the line."""
    return _Document(text).read()


def scalar(text: str) -> object:
    """Return what a plain word of YAML 1.1 means."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in _BOOLEANS and text in (text.lower(), text.title(), text.upper()):
        return _BOOLEANS[text.lower()]
    for pattern, convert in _INTEGERS:
        if re.fullmatch(pattern, text) and len(text) <= MOST_DIGITS:
            with contextlib.suppress(ValueError):  # no digit follows 0b
                return convert(text.replace("_", ""))
    if found := _ENDLESS.fullmatch(text):
        return -math.inf if found[1] == "-" else math.inf
    if text in (".nan", ".NaN", ".NAN"):
        return math.nan
    if (found := _SIXTIES.fullmatch(text)) and (
        found[3] is not None or text.lstrip("+-")[0] != "0"
    ):
        total: float = 0
        for part in found[2].replace("_", "").split(":"):
            total = total * 60 + int(part)
        total += float(f"0{found[3]}".replace("_", "")) if found[3] else 0
        return -total if found[1] == "-" else total
    return text


class _Document:
    """The lines of a document, and the place reached in them."""

    def __init__(self, text: str) -> None:
        self.lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.row = self.nodes = 0
        self.anchors: dict[str, tuple[object, int]] = {}

    def read(self) -> object:
        self._skip()
        while self._rest().startswith("%"):
            self.row += 1
            self._skip()
        if re.match(r"---(\s|$)", self._rest()):
            self.lines[self.row] = "   " + self._rest()[3:]
        found = self._below(-1, 0)
        self._skip()
        if self._rest() and not self._ends():
            self._refuse("this stands outside of what the lines before it begin", "indent it alike")
        return found

    # --- lines -------------------------------------------------------------------------------
    def _rest(self, column: int = 0) -> str:
        return self.lines[self.row][column:] if self.row < len(self.lines) else ""

    def _indent(self) -> int:
        """Return the column where the line begins, -1 at the end of the document."""
        line = self._rest()
        if self.row >= len(self.lines) or self._ends():
            return -1
        column = len(line) - len(line.lstrip(" "))
        if line[column] == "\t":
            self._refuse("a tab indents it", "indent by spaces")
        return column

    def _ends(self) -> bool:
        return re.match(r"(---|\.\.\.)(\s|$)", self._rest()) is not None

    def _skip(self) -> None:
        """Go to the next line that is neither blank nor a comment."""
        while self.row < len(self.lines) and re.match(r"\s*(#|$)", self._rest()):
            self.row += 1

    def _refuse(self, bound: str, remedy: str, value: str | None = None) -> NoReturn:
        shown = self._rest().strip() if value is None else value
        raise PlanError(f"line {self.row + 1}", shown, f"YAML: {bound}", remedy)

    # --- nodes -------------------------------------------------------------------------------
    def _count(self, deep: int, more: int = 1) -> None:
        self.nodes += more
        if deep > MOST_DEEP:
            self._refuse(f"it is nested more than {MOST_DEEP} deep", "nest it less")
        if self.nodes > MOST_NODES:
            bound = f"with what its aliases repeat it holds more than {MOST_NODES:,} values"
            self._refuse(bound, "write fewer")

    def _below(self, parent: int, deep: int, *, in_mapping: bool = False) -> object:
        """Return the node on the lines below, deeper than its parent; None where there is none."""
        self._skip()
        column = self._indent()
        if column > parent or (in_mapping and column == parent and self._is_item(column)):
            return self._node(column, parent, deep, starts_line=True)
        return None

    def _is_item(self, column: int) -> bool:
        return re.match(r"-(\s|$)", self._rest(column)) is not None

    def _node(self, column: int, parent: int, deep: int, *, starts_line: bool) -> object:
        """Return the node that begins in this line at a column."""
        self._count(deep)
        text = self._rest(column)
        if starts_line and self._is_item(column):
            return self._sequence(column, deep)
        if starts_line and self._key(column):
            return self._mapping(column, deep)
        if text[0] == "&":
            return self._anchored(column, parent, deep)
        if text[0] == "*":
            self._end_line(column + len(text.split()[0]))
            return self._alias(text[1:].split()[0], deep)
        if text[0] in "|>":
            return self._block_scalar(parent)
        if text[0] in "[{\"'":
            return self._flow_or_quoted(column, deep)
        return self._plain(column, parent)

    def _anchored(self, column: int, parent: int, deep: int) -> object:
        name = self._rest(column)[1:].split()[0]
        before, start = self.nodes, column + 1 + len(name)
        start += len(self._rest(start)) - len(self._rest(start).lstrip())
        if self._rest(start) and not self._rest(start).startswith("#"):
            if self._key(start):
                self._refuse("a key has an anchor", "give its value one")
            found = self._node(start, parent, deep, starts_line=False)
        else:
            self.row += 1
            found = self._below(parent, deep, in_mapping=True)
        self.anchors[name] = (found, self.nodes - before)
        return found

    def _alias(self, name: str, deep: int) -> object:
        if name not in self.anchors:
            self._refuse("no value before it has this anchor", f"write &{name} there", f"*{name}")
        found, size = self.anchors[name]
        self._count(deep, size)
        return found

    def _sequence(self, column: int, deep: int) -> list[object]:
        found = []
        while True:
            self._skip()
            if self._indent() != column or not self._is_item(column):
                break
            line = f"{' ' * column} {self._rest(column + 1)}"
            inner = len(line) - len(line.lstrip())
            if not line.strip() or line[inner] == "#":
                self.row += 1
                found.append(self._below(column, deep + 1))
            else:
                self.lines[self.row] = line.replace("\t", " ", inner)
                found.append(self._node(inner, column, deep + 1, starts_line=True))
        if self._indent() > column:
            self._refuse("it is deeper than the items before it", "indent it alike")
        return found

    def _mapping(self, column: int, deep: int) -> dict[Any, object]:
        found: dict[Any, object] = {}
        merged: list[object] = []
        while True:
            self._skip()
            if self._indent() != column or self._is_item(column):
                break
            key, start = self._key(column) or self._refuse("no key begins it", "write `key: value`")
            rest = self._rest(start).strip()
            if not rest or rest.startswith("#"):
                self.row += 1
                value = self._below(column, deep + 1, in_mapping=True)
            else:
                start += len(self._rest(start)) - len(self._rest(start).lstrip())
                value = self._node(start, column, deep + 1, starts_line=False)
            self._store(found, merged, key, value)
        if self._indent() > column:
            self._refuse("it is deeper than the keys before it", "indent it alike")
        return self._merged(found, merged)

    def _store(
        self, into: dict[Any, object], merged: list[object], key: Any, value: object
    ) -> None:
        if key is _MERGE:
            merged += value if isinstance(value, list) else [value]
        elif key in into:
            self._refuse("the same key stands here twice", "drop one", str(key))
        else:
            into[key] = value

    def _merged(self, own: dict[Any, object], merged: list[object]) -> dict[Any, object]:
        found: dict[Any, object] = {}
        for one in reversed(merged):
            if not isinstance(one, dict):
                self._refuse("a merge key takes mappings", "give it an alias of one", "<<")
            found |= one
        return found | own

    def _key(self, column: int) -> tuple[Any, int] | None:
        """Return the key that begins at a column and where its value begins, else None."""
        text = self._rest(column)
        if re.match(r"\?(\s|$)", text):
            self._refuse("a key is a collection", "use a word as key")
        if text[:1] in ('"', "'"):
            quoted = _QUOTED.match(text)
            if quoted and (end := re.match(r"\s*:(?=\s|$)", text[quoted.end() :])):
                return self._unquote(quoted[0]), column + quoted.end() + end.end()
            return None
        if text[:1] in tuple("[]{},&*!|>%@`#"):
            return None
        found = _KEY_END.search(text)
        if found is None or _COMMENT.search(text[: found.start()]):
            return None
        word = text[: found.start()].rstrip()
        return _MERGE if word == "<<" else scalar(word), column + found.end()

    # --- scalars and flow --------------------------------------------------------------------
    def _plain(self, column: int, parent: int) -> object:
        parts: list[str] = []
        text = self._rest(column)
        if text[0] in "%@`!]},#" or re.match(r"[-?:](\s|$)", text):
            bound = "tags are not read" if text[0] == "!" else "no value begins so"
            self._refuse(bound, "write the value alone" if text[0] == "!" else "quote it")
        blank = 0
        while True:
            words = _COMMENT.sub("", text).rstrip()
            if _KEY_END.search(words):
                self._refuse("a second colon stands in this line", "quote the value", text)
            parts.append("\n" * blank + words if blank else f"{' ' if parts else ''}{words}")
            self.row, ended = self.row + 1, words != text.rstrip()
            blank = 0
            while self.row < len(self.lines) and not self._rest().strip():
                self.row, blank = self.row + 1, blank + 1
            if ended or self._indent() <= parent or self._rest().lstrip().startswith("#"):
                break
            text = self._rest().strip()
        return scalar(parts[0]) if len(parts) == 1 else "".join(parts)

    def _block_scalar(self, parent: int) -> str:
        head = re.search(r"(?<!\S)[|>][-+1-9]*\s*(?:#.*)?$", self._rest())
        style = _HEAD.match(head[0]) if head else None
        if head is None or style is None:
            self._refuse("this begins no block of text", "write | or >")
        chomp, folded = style[1] or style[3], head[0][0] == ">"
        self.row += 1
        least = max(parent + 1, 1)
        indent = max(parent, 0) + int(style[2]) if style[2] else self._block_indent(least)
        parts: list[str] = []
        breaks, last, first = 0, "", True
        while self.row < len(self.lines):
            line = self._rest()
            if len(line[:indent].strip(" ")) or (not line.strip(" ") and len(line) <= indent):
                if line.strip(" ") or (first and self.row == len(self.lines) - 1):
                    break
                if self.row == len(self.lines) - 1:
                    break
                breaks += 1
            else:
                line = line[indent:]
                if not first:
                    plain = folded and last[0] not in " \t" and line[0] not in " \t"
                    parts.append("\n" if not plain else "" if breaks else " ")
                parts += ["\n" * breaks, line]
                breaks, last, first = 0, line, False
            self.row += 1
        if chomp != "-" and not first:
            parts.append("\n")
        return "".join(parts) + ("\n" * breaks if chomp == "+" else "")

    def _block_indent(self, least: int) -> int:
        for line in self.lines[self.row :]:
            if line.strip(" "):
                return max(least, len(line) - len(line.lstrip(" ")))
        return least

    def _flow_or_quoted(self, column: int, deep: int) -> object:
        """Return a flow collection or a quoted text, which end where they end."""
        text = "\n".join([self._rest(column), *self.lines[self.row + 1 :]])
        flow = _Flow(self, text)
        found = flow.node(deep)
        taken = text[: flow.at]
        self.row += taken.count("\n")
        last = len(taken) - taken.rfind("\n") - 1
        self._end_line(last + (0 if "\n" in taken else column))
        return found

    def _end_line(self, column: int) -> None:
        if not re.match(r"\s*(\s#.*)?$", self._rest(column)):
            self._refuse("something follows the end of a value", "quote the whole value")
        self.row += 1

    def _unquote(self, text: str) -> str:
        """Return what a quoted text says: line breaks fold, and escapes stand in double quotes."""
        body = re.sub(r"[ \t]*\n[ \t]*((?:\n[ \t]*)*)", _fold, text[1:-1])
        if text[0] == "'":
            return body.replace("''", "'")
        body = re.sub(r"[ \t]*(?<!\\)\n[ \t]*((?:\n[ \t]*)*)", _fold, text[1:-1])
        return _ESCAPE.sub(self._escaped, body)

    def _escaped(self, found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        if code is None:
            if found[4] is not None and found[4] not in _ESCAPES:
                self._refuse("there is no such escape", "write \\\\ for a backslash", found[0])
            return _ESCAPES[found[4]] if found[4] else ""
        try:
            return chr(int(code, 16))
        except (ValueError, OverflowError):
            self._refuse("this is no character's number", "write its digits", found[0])


def _fold(found: re.Match[str]) -> str:
    return "\n" * found[1].count("\n") or " "


class _Flow:
    """A flow collection or a quoted text, character by character."""

    def __init__(self, document: _Document, text: str) -> None:
        self.document, self.text, self.at = document, text, 0

    def node(self, deep: int) -> object:
        document = self.document
        document._count(deep)
        mark = self._space()
        if mark == "[":
            return self._items(deep)
        if mark == "{":
            return self._pairs(deep)
        if mark in ('"', "'"):
            return self._quoted()
        if mark in ("&", "*"):
            name = re.compile(r"[^\s,\[\]{}]+").match(self.text, self.at + 1)
            if name is None:
                document._refuse("an anchor has no name", "write one")
            before, self.at = document.nodes, name.end()
            if mark == "*":
                return document._alias(name[0], deep)
            found = self.node(deep)
            document.anchors[name[0]] = (found, document.nodes - before)
            return found
        if mark == "!":
            tag = self.text[self.at :].split()[0]
            document._refuse("tags are not read", "write the value alone", tag)
        if re.match(r"\?\s", self.text[self.at :][:2]):
            document._refuse("a key is a collection", "use a word as key")
        return self._plain()

    def _space(self) -> str:
        """Go over white space and comments; return the character there."""
        found = re.compile(r"(?:\s|(?<=\s)#[^\n]*)*").match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.at >= len(self.text):
            self.document._refuse("a bracket or a quotation mark is never closed", "close it")
        return self.text[self.at]

    def _quoted(self) -> str:
        found = _QUOTED.match(self.text, self.at)
        if found is None:
            self.document._refuse("a quotation mark is never closed", "close it")
        self.at = found.end()
        return self.document._unquote(found[0])

    def _plain(self) -> object:
        found = re.compile(r"(?:[^,\[\]{}:#]|:(?![\s,\[\]{}]|$)|(?<!\s)#)*").match(
            self.text, self.at
        )
        words = found[0].rstrip() if found else ""
        if self.text[self.at] in "%@`|>" or not (words or self.text[self.at] in ",]}:"):
            self.document._refuse("no value begins so", "quote it", self.text[self.at :][:20])
        self.at += len(words)
        if "\n" not in words:
            return scalar(words)
        return re.sub(r"[ \t]*\n[ \t]*((?:\n[ \t]*)*)", _fold, words)

    def _colon(self, *, quoted: bool) -> bool:
        """Take the colon after a key, if there is one; a quoted key needs no space after it."""
        mark = self._space()
        if mark == ":" and (
            quoted or re.match(r"[\s,\[\]{}]", self.text[self.at + 1 :][:1] or " ")
        ):
            self.at += 1
            return True
        return False

    def _value(self, deep: int) -> object:
        return None if self._space() in ",]}" else self.node(deep + 1)

    def _items(self, deep: int) -> list[object]:
        self.at += 1
        found: list[object] = []
        while self._space() != "]":
            quoted = self.text[self.at] in "\"'"
            one = self.node(deep + 1)
            found.append({one: self._value(deep + 1)} if self._colon(quoted=quoted) else one)
            self._comma("]")
        self.at += 1
        return found

    def _pairs(self, deep: int) -> dict[Any, object]:
        self.at += 1
        found: dict[Any, object] = {}
        merged: list[object] = []
        while self._space() != "}":
            quoted = self.text[self.at] in "\"'"
            key = self.node(deep + 1)
            if isinstance(key, (list, dict)):
                self.document._refuse("a key is a collection", "use a word as key")
            value = self._value(deep) if self._colon(quoted=quoted) else None
            key = _MERGE if key == "<<" and not quoted else key
            self.document._store(found, merged, key, value)
            self._comma("}")
        self.at += 1
        return self.document._merged(found, merged)

    def _comma(self, end: str) -> None:
        mark = self._space()
        if mark == ",":
            self.at += 1
        elif mark != end:
            self.document._refuse(
                f"a comma or {end} is missing", "write it", self.text[self.at :][:20]
            )
