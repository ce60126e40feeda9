"""The documentation as pages of the site: each docs/*.md is one, the reference of the library
another, and `docs/` lists them.

A relative link of the Markdown works on a forge as it is. On the site, one to a guide leads to its
page, one to a chapter into the article, and one to any other file of docs/ to a copy of it.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Final

from site_builder import SiteError, reference
from site_builder.config import PAGES, ROOT, Page
from site_builder.markdown import slug

DOCS: Final = ROOT / "docs"
_TITLE: Final = re.compile(r"# (.+)\n\s*")
_LINK: Final = re.compile(r'href="(?!#|[a-z]+:)([^"#]+)(#[^"]*)?"')
_IN_TEXT: Final = re.compile(r"\]\((?!#|[a-z]+:)([^)#]+)")
_MARKS: Final = re.compile(r"\[([^]]*)\]\([^)]*\)|[`*]")


@cache
def pages() -> tuple[Page, ...]:
    """Return the page of each guide, by title."""
    (top,) = (page for page in PAGES if page.path == "docs")
    texts = {path.stem.lower(): path.read_text("utf-8") for path in DOCS.glob("*.md")}
    texts["reference"] = f"# {reference.TITLE}\n\n{reference.text()}"
    found = [_guide(name, text, top) for name, text in texts.items()]
    return tuple(sorted(found, key=lambda page: page.title.lower()))


def _guide(name: str, text: str, top: Page) -> Page:
    title = _TITLE.match(text)
    if not title:
        raise SiteError(f"{name}.md", "a guide starts with its title: # Title")
    return Page(
        path=f"docs/{name}",
        title=title[1],
        description=_first_sentence(text[title.end() :]),
        label=title[1],
        script=top.script,
        parts=top.parts,
        content=text[title.end() - 1 :],
    )


def _first_sentence(text: str) -> str:
    """Return the first sentence of prose, without Markdown."""
    paragraphs = re.sub(r"```.*?```", "", text, flags=re.DOTALL).split("\n\n")
    prose = next(part for part in paragraphs if re.match(r"\s*[A-Z`\[]", part))
    plain = _MARKS.sub(lambda match: match[1] or "", " ".join(prose.split()))
    return re.split(r"(?<=[.:]) ", plain)[0].rstrip(":")


def searched() -> list[Page]:
    """Return the guides that the search looks through: of the changelog most is of the past."""
    return [page for page in pages() if page.path != "docs/changelog"]


def list_guides(groups: str) -> str:
    """Return the Markdown of `docs/`: every guide with its first sentence.

    `groups` has headings, and below each the names of its guides; the last has all others, too.
    """
    known = {page.path.removeprefix("docs/"): page for page in pages()}
    lines = []
    for line in [*groups.splitlines(), " ".join(sorted({*known} - {*groups.split()}))]:
        if line.startswith("#"):
            lines += ["", line, ""]
            continue
        for name in line.split():
            lines.append(f"- [{known[name].title}]({name}.md) – {known[name].description}")
    return "\n".join(lines)


def lead_to_site(html: str, page: Page) -> str:
    """Return the HTML of a guide, its relative links leading to what the site has.

    Raises SiteError for one that leads to nothing there.
    """

    def led(match: re.Match[str]) -> str:
        path, anchor = posixpath.normpath(f"docs/{match[1]}"), match[2] or ""
        if path.startswith("web/article/"):
            title = _TITLE.match((ROOT / path).read_text(encoding="utf-8"))
            return f'href="#{slug(title[1])}"' if title else match[0]
        target = path.removesuffix(".md").lower()
        if target in {guide.path for guide in pages()}:
            return f'href="{page.link_to(f"{target}/")}{anchor}"'
        if path.startswith("docs/") and (ROOT / path).is_file():
            return f'href="{page.link_to(path)}"'
        raise SiteError(page.path, f"the link to {match[1]} leads nowhere on the site")

    return _LINK.sub(led, html)


def write_files(out: Path) -> None:
    """Copy the files of docs/ that guides link to."""
    for path in {path for page in pages() for path in _IN_TEXT.findall(page.content)}:
        source = DOCS / path
        if source.suffix != ".md" and not path.startswith(".."):
            target = out / "docs" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
