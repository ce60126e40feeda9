"""The Markdown of a chapter: CommonMark with tables, blocks, formulas and this inline syntax:

    {{ gb(total) }}     an expression, see site_builder.expressions
    [@howard2018; @x]   a citation, see site_builder.bibliography
    ^[a margin note]    a note, moved to the end of its paragraph
    [](#fig-name)       a link whose text is the figure's number

A figure that shows the output of a cell stands in the cell, above its code: picture, caption, code.

Inline and core rules make tokens of it; the methods of `ChapterRenderer` make HTML of the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from site_builder import SiteError
from site_builder.blocks import BLOCKS, PageContext
from site_builder.code_blocks import CELL, CellHtml, CellOptions, include_source, listing
from site_builder.expressions import EXPRESSION, Expressions, SliderBlock

_CITATION: Final = re.compile(r"\[(@[\w-]+(?:\s*;\s*@[\w-]+)*)\]")


_CELL_PARTS: Final = ("open", "output", "close")


@dataclass
class Section:
    """A section of a chapter, for the table of contents."""

    id: str
    title: str


class ChapterRenderer:
    """Render rules for one chapter; markdown-it calls them with (tokens, index, options, env)."""

    def __init__(self, filename: str, context: PageContext) -> None:
        """Errors name `filename` and the line in it."""
        self.filename = filename
        self.context = context
        self.expressions = Expressions()
        self.sections: list[Section] = []
        self.headings: dict[str, int] = {}
        self.last_heading = ""
        self.slider: SliderBlock | None = None
        self.cell: CellHtml | None = None

    def where(self, token: Token) -> str:
        """Return the place of a token: "chapter.md:line"."""
        line = token.map[0] + 1 if token.map else token.meta.get("line", 0)
        return f"{self.filename}:{line}"

    def expression(self, token: Token) -> str:
        """The value of an expression; inside a slider, marked for the script that changes it."""
        if self.slider:
            return self.slider.render_expression(token.content, self.where(token))
        value = self.expressions.evaluate(token.content, self.where(token))
        return escape(str(value), quote=False)

    def citation(self, token: Token) -> str:
        """Numbered links into the bibliography."""
        return self.context.bibliography.cite(token.meta["keys"], self.where(token))

    def math(self, token: Token) -> str:
        """A formula, which Node renders as MathML."""
        tex = self.expressions.fill(token.content.strip(), self.where(token))
        display = token.type == "math_block"
        html = self.context.queue.add(self.where(token), "math", tex=tex, display=display)
        return f'<div class="formula">{html}</div>\n' if display else html

    def fence(self, token: Token) -> str:
        """A live cell, a facts block, a definition from its file, or a listing."""
        where, info = self.where(token), token.info.strip()
        if info == "python facts":
            self.expressions.define(token.content, self.filename, int(where.rpartition(":")[2]) + 1)
            return ""
        if info.split()[:1] == ["source"]:
            return include_source(info.split()[1:], where)
        options = CellOptions.parse(info, where)
        if options is None:
            return listing(token.content, info or "text", where)
        if self.cell:
            raise SiteError(where, "a figure shows the output of one cell: give this one its own")
        cell = self.context.cells.render(options, token.content.rstrip("\n"), where)
        return f"{cell.open}{cell.guess}{cell.code}{cell.output}{cell.close}"

    def cell_open(self, token: Token) -> str:
        """The start of a cell whose figure follows; it runs here."""
        options = CellOptions.parse(token.info.strip(), self.where(token))
        assert options
        source = token.content.rstrip("\n")
        self.cell = self.context.cells.render(options, source, self.where(token))
        return self.cell.open

    def cell_output(self, _: Token) -> str:
        """The output of the cell that is open, in its figure."""
        assert self.cell
        return self.cell.guess + self.cell.output

    def cell_close(self, _: Token) -> str:
        """The code of the cell that is open, below its figure."""
        assert self.cell
        cell, self.cell = self.cell, None
        return cell.code + cell.close

    def block_open(self, token: Token) -> str:
        """The start of a block, see site_builder.blocks."""
        name = token.type.removeprefix("container_").removesuffix("_open")
        return BLOCKS[name].render_open(self.context, token.info.strip(), self.where(token))

    def slider_open(self, token: Token) -> str:
        """The start of a slider block, see site_builder.expressions."""
        info = token.info.strip().removeprefix("slider")
        if self.slider:
            raise SiteError(
                self.where(token), "a slider stands in another: end that with ::: first"
            )
        self.slider = SliderBlock.parse(info, self.expressions, self.where(token))
        return "<prose-slider>\n"

    def slider_close(self, token: Token) -> str:
        """The end of a slider block, with every sentence as data."""
        assert self.slider
        closed, self.slider = self.slider.close(self.where(token)), None
        return closed

    def figure_number(self, token: Token) -> str:
        """A mark that becomes "Figure 3" once all figures are numbered."""
        return f"<!--figure:{token.content}:{self.where(token)}-->"

    def term_open(self, tokens: Sequence[Token], index: int) -> str:
        """A term with an id; a symbol, which is a formula, has none."""
        term = tokens[index + 1].content
        return "<dt>" if term.startswith("$") else f'<dt id="term-{slug(term)}">'

    def heading_open(self, tokens: Sequence[Token], index: int) -> str:
        """A section heading with an id, one level below the chapter's."""
        token, title = tokens[index], tokens[index + 1].content
        if token.tag == "h1":
            raise SiteError(self.where(token), "a chapter has one title, on its first line")
        section = Section(self._heading_id(title), title)
        if token.tag == "h2":
            self.sections.append(section)
        return f'<h{int(token.tag[1]) + 1} id="{section.id}">'

    def _heading_id(self, title: str) -> str:
        """Return the id of a heading, numbered where its page has it already, as forges do."""
        name = slug(title)
        times = self.headings[name] = self.headings.get(name, -1) + 1
        self.last_heading = f"{name}-{times}" if times else name
        return self.last_heading

    def heading_close(self, tokens: Sequence[Token], index: int) -> str:
        """The end of a heading, with a link to itself."""
        title = tokens[index - 1].content
        anchor = (
            f'<a class="anchor" href="#{self.last_heading}"'
            f' aria-label="Link to “{escape(title)}”"></a>'
        )
        return f" {anchor}</h{int(tokens[index].tag[1]) + 1}>\n"


def slug(title: str) -> str:
    """Return a heading's id: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def make_parser(renderer: ChapterRenderer) -> MarkdownIt:
    """Return a Markdown parser that renders with the methods of `renderer`."""
    parser = MarkdownIt("commonmark", {"typographer": True})
    parser.enable(["table", "replacements", "smartquotes"])
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False)
    parser.use(deflist_plugin)
    for name in (*BLOCKS, "slider"):
        parser.use(container_plugin, name)
    for rule in (_expression, _citation, _note):
        parser.inline.ruler.before("link", rule.__name__, rule)
    for turn in (_lines, _notes_last, _figure_links, _captions, _alignment):
        parser.core.ruler.push(turn.__name__, turn)
    parser.core.ruler.push("cells", lambda state: _cells_in_figures(state, renderer.where))
    for name, render in {
        "expression": renderer.expression,
        "citation": renderer.citation,
        "math_inline": renderer.math,
        "math_block": renderer.math,
        "fence": renderer.fence,
        **{f"cell_{part}": getattr(renderer, f"cell_{part}") for part in _CELL_PARTS},
        "container_slider_open": renderer.slider_open,
        "container_slider_close": renderer.slider_close,
        "figure_number": renderer.figure_number,
        "caption_open": lambda token: f"<figcaption><b>{renderer.figure_number(token)}.</b> ",
        "caption_close": lambda _: "</figcaption>\n",
        "table_close": lambda _: "</table></div>\n",
        "note_ref": _note_ref,
        "note_open": _note_open,
        "note_close": lambda _: "</span>",
    }.items():
        parser.add_render_rule(name, _one_token(render))
    for name, block in BLOCKS.items():
        parser.add_render_rule(f"container_{name}_open", _one_token(renderer.block_open))
        parser.add_render_rule(f"container_{name}_close", lambda *_, html=block.close: html)
    for name, render_at in {
        "heading_open": renderer.heading_open,
        "heading_close": renderer.heading_close,
        "table_open": _table_open,
        "dt_open": renderer.term_open,
    }.items():
        parser.add_render_rule(name, _tokens_and_index(render_at))
    return parser


def _one_token(render: Callable[[Token], str]) -> Callable[..., str]:
    """Adapt a rule that needs one token to markdown-it's five arguments."""
    return lambda _, tokens, index, *__: render(tokens[index])


def _tokens_and_index(render: Callable[[Sequence[Token], int], str]) -> Callable[..., str]:
    """Adapt a rule that needs the tokens around its own."""
    return lambda _, tokens, index, *__: render(tokens, index)


def _table_open(tokens: Sequence[Token], index: int) -> str:
    """A table in a scrollable frame whose accessible name is that of its columns."""
    end = next(i for i in range(index, len(tokens)) if tokens[i].type == "thead_close")
    heads = (
        "".join(child.content for child in token.children or ()).strip()
        for token in tokens[index:end]
        if token.type == "inline"
    )
    label = escape(f"Table: {', '.join(filter(None, heads))}")
    frame = f'<div class="plain-table" tabindex="0" role="region" aria-label="{label}">'
    return f"{frame}<table>\n"


def _note_ref(token: Token) -> str:
    number = token.meta["number"]
    return (
        f'<a class="note-ref" href="#note-{number}" id="note-ref-{number}" '
        f'aria-label="Note {number}">{number}</a>'
    )


def _note_open(token: Token) -> str:
    number = token.meta["number"]
    return (
        f' <span class="note" role="note" id="note-{number}">'
        f'<a class="note-number" href="#note-ref-{number}" '
        f'aria-label="{number}: back to the text">{number}</a> '
    )


def _expression(state: StateInline, silent: bool) -> bool:
    match = EXPRESSION.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("expression", "", 0).content = match[1].strip()
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
    """Give each inline token its line in the file, counted from 1, as `meta["line"]`."""
    for block in state.tokens:
        line = block.map[0] + 1 if block.map else 0
        block.meta["line"] = line
        for token in block.children or ():
            token.meta["line"] = line
            line += token.type in ("softbreak", "hardbreak")


def _notes_last(state: StateCore) -> None:
    """Move notes to the end of their paragraph: shown in the margin, or below when it is narrow."""
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
    """Give links to figures that have no text the figure's number."""
    for block in state.tokens:
        children = block.children or []
        for index in range(len(children) - 1, 0, -1):
            opened = children[index - 1]
            target = str(opened.attrGet("href") or "") if opened.type == "link_open" else ""
            if children[index].type == "link_close" and target.startswith("#fig-"):
                number = Token("figure_number", "", 0, content=target[5:])
                number.meta["line"] = opened.meta["line"]
                children.insert(index, number)


def _captions(state: StateCore) -> None:
    """Turn the last paragraph of every figure into its caption."""
    tokens = state.tokens
    for index, token in enumerate(tokens):
        if token.type != "container_figure_close":
            continue
        opened = next(t for t in reversed(tokens[:index]) if t.type == "container_figure_open")
        paragraph = tokens[index - 3 : index]
        if [t.type for t in paragraph] != ["paragraph_open", "inline", "paragraph_close"]:
            continue
        name = opened.info.split()[1:2]
        paragraph[0].type, paragraph[2].type = "caption_open", "caption_close"
        paragraph[0].content = "".join(name)


def _cells_in_figures(state: StateCore, where: Callable[[Token], str]) -> None:
    """Put a figure that shows the output of a cell into the cell, before its code.

    figure( cell, caption )  ─▶  cell( figure( output, caption ), code )
    """
    tokens: list[Token] = []
    start = -1
    for token in state.tokens:
        if token.type == "container_figure_open":
            if start >= 0:
                raise SiteError(where(token), "a figure stands in another: end that with ::: first")
            start = len(tokens)
        tokens.append(token)
        if token.type != "container_figure_close":
            continue
        cells = (i for i in range(start, len(tokens)) if tokens[i].info.split()[:2] == CELL)
        if (place := next(cells, None)) is not None:
            fence = tokens[place]
            tokens[place] = Token("cell_output", "", 0)
            tokens.insert(start, replace(fence, type="cell_open", tag=""))
            tokens.append(Token("cell_close", "", 0))
        start = -1
    state.tokens = tokens


def _alignment(state: StateCore) -> None:
    """Align table cells by class: the Content-Security-Policy refuses style attributes."""
    for token in state.tokens:
        style = str(token.attrs.pop("style", "")) if token.type in {"th_open", "td_open"} else ""
        if style:
            token.attrSet("class", f"cell-{style.partition(':')[2]}")
