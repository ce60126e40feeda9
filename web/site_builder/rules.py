"""How the tokens of a chapter become HTML: cells are run here, formulas and figures asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from site_builder.blocks import BLOCKS, PageContext
from site_builder.cells import CellTag
from site_builder.errors import SiteError
from site_builder.facts import Facts
from site_builder.listing import highlighted, source_listing
from site_builder.sliders import Sliding
from site_builder.syntax import add_syntax


@dataclass
class Section:
    """A heading of a chapter below its title, for the table of contents."""

    id: str
    title: str


class ChapterRules:
    """Render rules for one chapter; markdown-it calls them with (tokens, index, options, env)."""

    def __init__(self, filename: str, context: PageContext) -> None:
        """Errors name `filename` and the line in it."""
        self.filename = filename
        self.context = context
        self.facts = Facts()
        self.sections: list[Section] = []
        self.slider: Sliding | None = None

    def where(self, token: Token) -> str:
        """Name the place of a token: "chapter.md:line"."""
        line = token.map[0] + 1 if token.map else token.meta.get("line", 0)
        return f"{self.filename}:{line}"

    def computed(self, token: Token) -> str:
        """A number or word the build computes; inside a slider, what it says at each stop."""
        if self.slider:
            return self.slider.hole(token.content, self.where(token))
        return escape(self.facts.value(token.content, self.where(token)), quote=False)

    def citation(self, token: Token) -> str:
        """Numbered links into the bibliography."""
        return self.context.bibliography.cite(token.meta["keys"], self.where(token))

    def math(self, token: Token) -> str:
        """A formula, MathML when the page is put together."""
        tex = self.facts.fill(token.content.strip(), self.where(token))
        display = token.type == "math_block"
        html = self.context.renderings.add(self.where(token), "math", tex=tex, display=display)
        if not display:
            return html
        return f'<div class="formula">{html}</div>\n'

    def fence(self, token: Token) -> str:
        """A live cell, a facts block, a function from its own file, or plain code."""
        where, info = self.where(token), token.info.strip()
        if info == "python facts":
            self.facts.define(token.content, self.filename, int(where.rpartition(":")[2]) + 1)
            return ""
        if info.split()[:1] == ["source"]:
            return source_listing(info.split()[1:], where)
        tag = CellTag.parse(info, where)
        if tag is not None:
            return self.context.baker.bake(tag, token.content.rstrip("\n"), where)
        language = info or "text"
        code = highlighted(token.content, language, where)
        code = f'<code class="language-{language}">{code}</code>'
        return f'<pre class="listing" tabindex="0">{code}</pre>\n'

    def block_open(self, token: Token) -> str:
        """What stands before a block's text, see site_builder.blocks."""
        name = token.type.removeprefix("container_").removesuffix("_open")
        return BLOCKS[name].opened(self.context, token.info.strip(), self.where(token))

    def slider_open(self, token: Token) -> str:
        """Prose with a number to pull, see site_builder.sliders."""
        info = token.info.strip().removeprefix("slider")
        self.slider = Sliding.parse(info, self.facts, self.where(token))
        return "<prose-slider>\n"

    def slider_close(self, token: Token) -> str:
        """The end of such prose, and every sentence it can say."""
        assert self.slider
        closed, self.slider = self.slider.close(self.where(token)), None
        return closed

    def figure_number(self, token: Token) -> str:
        """A mark that becomes "Figure 3" once all figures have their numbers."""
        return f"<!--figure:{token.content}:{self.where(token)}-->"

    def term_open(self, tokens: Sequence[Token], index: int) -> str:
        """A term with an id of its own; a symbol, which is a formula, needs none."""
        words = tokens[index + 1].content
        return "<dt>" if words.startswith("$") else f'<dt id="term-{slug(words)}">'

    def heading_open(self, tokens: Sequence[Token], index: int) -> str:
        """A section heading with an id of its own, one level below the chapter's."""
        token, title = tokens[index], tokens[index + 1].content
        if token.tag == "h1":
            raise SiteError(self.where(token), "a chapter has one title, on its first line")
        section = Section(slug(title), title)
        if token.tag == "h2":
            self.sections.append(section)
        return f'<h{int(token.tag[1]) + 1} id="{section.id}">'

    def heading_close(self, tokens: Sequence[Token], index: int) -> str:
        """Close a heading behind a link to itself."""
        title = tokens[index - 1].content
        anchor = (
            f'<a class="anchor" href="#{slug(title)}" aria-label="Link to “{escape(title)}”">#</a>'
        )
        return f" {anchor}</h{int(tokens[index].tag[1]) + 1}>\n"


def slug(title: str) -> str:
    """A heading's id: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def make_parser(rules: ChapterRules) -> MarkdownIt:
    """Build the parser of one chapter, its renderer bound to `rules`."""
    parser = MarkdownIt("commonmark", {"typographer": True})
    parser.enable(["table", "replacements", "smartquotes"])
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False)
    parser.use(deflist_plugin)
    for name in (*BLOCKS, "slider"):
        parser.use(container_plugin, name)
    add_syntax(parser)
    parser.core.ruler.push("captions", lambda state: _captions(state.tokens))
    parser.core.ruler.push("alignment", lambda state: _alignment(state.tokens))
    _bind(parser, rules)
    return parser


def _bind(parser: MarkdownIt, rules: ChapterRules) -> None:
    """Say which method renders which token."""
    for name, render in {
        "computed": rules.computed,
        "citation": rules.citation,
        "math_inline": rules.math,
        "math_block": rules.math,
        "fence": rules.fence,
        "container_slider_open": rules.slider_open,
        "container_slider_close": rules.slider_close,
        "figure_number": rules.figure_number,
        "caption_open": lambda token: f"<figcaption><b>{rules.figure_number(token)}.</b> ",
        "caption_close": lambda _: "</figcaption>\n",
        "table_close": lambda _: "</table></div>\n",
        "note_ref": _note_ref,
        "note_open": _note_open,
        "note_close": lambda _: "</span>",
    }.items():
        parser.add_render_rule(name, _one_token(render))
    for name, block in BLOCKS.items():
        parser.add_render_rule(f"container_{name}_open", _one_token(rules.block_open))
        parser.add_render_rule(f"container_{name}_close", _constant(block.close))
    parser.add_render_rule("heading_open", lambda _, tokens, i, *__: rules.heading_open(tokens, i))
    parser.add_render_rule("table_open", lambda _, tokens, i, *__: _table_open(tokens, i))
    parser.add_render_rule("dt_open", lambda _, tokens, i, *__: rules.term_open(tokens, i))
    parser.add_render_rule(
        "heading_close", lambda _, tokens, i, *__: rules.heading_close(tokens, i)
    )


def _one_token(render: Any) -> Any:
    """Adapt a rule that looks at one token to markdown-it's five arguments."""

    def rule(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
        return str(render(tokens[index]))

    return rule


def _constant(html: str) -> Any:
    """A rule that looks at nothing."""
    return lambda *_: html


def _table_open(tokens: Sequence[Token], index: int) -> str:
    """A table in a frame that can scroll, named by its columns."""
    end = next(i for i in range(index, len(tokens)) if tokens[i].type == "thead_close")
    heads = (_plain(token) for token in tokens[index:end] if token.type == "inline")
    label = escape(f"Table: {', '.join(filter(None, heads))}")
    frame = f'<div class="plain-table" tabindex="0" role="region" aria-label="{label}">'
    return f"{frame}<table>\n"


def _plain(token: Token) -> str:
    """The words of an inline token without their marks."""
    return "".join(child.content for child in token.children or ()).strip()


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


def _captions(tokens: list[Token]) -> None:
    """Turn the last paragraph of every figure into its caption."""
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


def _alignment(tokens: list[Token]) -> None:
    """Say how table cells align by class: the page's policy refuses style attributes."""
    for token in tokens:
        style = str(token.attrs.pop("style", "")) if token.type in {"th_open", "td_open"} else ""
        if style:
            token.attrSet("class", f"cell-{style.partition(':')[2]}")
