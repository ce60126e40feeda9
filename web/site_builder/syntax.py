"""What our Markdown adds to CommonMark, as markdown-it inline rules.

    {{ gb(total) }}     a computed word, see site_builder.facts
    [@howard2018; @x]   a citation, see site_builder.citations
    ^[a margin note]    a note, moved to the end of its paragraph
    [](#fig-name)       a link whose text is the figure's number

Each rule only makes tokens; site_builder.rules turns them into HTML.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from site_builder.facts import EXPRESSION

_CITATION = re.compile(r"\[(@[\w-]+(?:\s*;\s*@[\w-]+)*)\]")


def add_syntax(parser: MarkdownIt) -> None:
    """Teach a parser the four rules, and every inline token the line it stands on."""
    parser.inline.ruler.before("link", "computed", _computed)
    parser.inline.ruler.before("link", "citation", _citation)
    parser.inline.ruler.before("link", "note", _note)
    parser.core.ruler.push("lines", _lines)
    parser.core.ruler.push("notes_last", _notes_last)
    parser.core.ruler.push("figure_links", _figure_links)


def _computed(state: StateInline, silent: bool) -> bool:
    match = EXPRESSION.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("computed", "", 0).content = match[1].strip()
    state.pos = match.end()
    return True


def _citation(state: StateInline, silent: bool) -> bool:
    match = _CITATION.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("citation", "", 0).meta["keys"] = re.findall(r"@([\w-]+)", match[1])
    state.pos = match.end()
    return True


def _note(state: StateInline, silent: bool) -> bool:
    start = state.pos
    if not state.src.startswith("^[", start):
        return False
    end = state.md.helpers.parseLinkLabel(state, start + 1)
    if end < 0:
        return False
    if not silent:
        number = state.env["notes"] = state.env.get("notes", 0) + 1
        state.push("note_ref", "", 0).meta["number"] = number
        state.push("note_open", "", 1).meta["number"] = number
        inner: list[Token] = []
        state.md.inline.parse(state.src[start + 2 : end], state.md, state.env, inner)
        state.tokens.extend(inner)
        state.push("note_close", "", -1)
    state.pos = end + 1
    return True


def _lines(state: StateCore) -> None:
    """Give each inline token `meta["line"]`, counted from 1 in its chapter's file."""
    for block in state.tokens:
        line = block.map[0] + 1 if block.map else 0
        block.meta["line"] = line
        for token in block.children or ():
            token.meta["line"] = line
            line += token.type in ("softbreak", "hardbreak")


def _notes_last(state: StateCore) -> None:
    """Move notes behind the text of their paragraph: in the margin there, below it when narrow."""
    for block in state.tokens:
        text: list[Token] = []
        notes: list[Token] = []
        inside = False
        for token in block.children or ():
            inside = inside or token.type == "note_open"
            (notes if inside else text).append(token)
            inside = inside and token.type != "note_close"
        if notes:
            block.children = text + notes


def _figure_links(state: StateCore) -> None:
    """Put a figure's number into links to it that have no text of their own."""
    for block in state.tokens:
        children = block.children or []
        for index in range(len(children) - 1, 0, -1):
            opened = children[index - 1]
            target = str(opened.attrGet("href") or "") if opened.type == "link_open" else ""
            if children[index].type == "link_close" and target.startswith("#fig-"):
                number = Token("figure_number", "", 0, content=target[5:])
                number.meta["line"] = opened.meta["line"]
                children.insert(index, number)
