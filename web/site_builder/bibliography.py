"""The bibliography: `references.toml` in, numbered citations and a list with backlinks out."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path

from site_builder import SiteError

_IDENTIFIERS = {"https://arxiv.org/abs/": "arXiv:", "https://doi.org/": "doi:"}
_KEYS = {"authors", "year", "title", "venue", "url"}


@dataclass(frozen=True)
class Reference:
    """One work; `venue` is the journal, conference or institution."""

    authors: str
    year: int
    title: str
    venue: str
    url: str

    @property
    def identifier(self) -> str:
        """The arXiv number or DOI, printed as text: "arXiv:1801.06146"; or an empty string."""
        for host, prefix in _IDENTIFIERS.items():
            if self.url.startswith(host):
                return prefix + self.url.removeprefix(host)
        return ""


class Bibliography:
    """Numbers works in the order in which the text first cites them."""

    def __init__(self, references: dict[str, Reference]) -> None:
        """`references` are all works that the text may cite, by key."""
        self._references = references
        self._citations: dict[str, int] = {}

    @classmethod
    def read(cls, path: Path) -> Bibliography:
        """Read a TOML file of `[key]` tables; raises SiteError for a missing or unknown entry.

        Without the file there is nothing to cite.
        """
        references = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for key, entry in tomllib.loads(text).items():
            if set(entry) != _KEYS:
                raise SiteError(f"{path.name}:[{key}]", f"needs exactly the keys {sorted(_KEYS)}")
            references[key] = Reference(**entry)
        return cls(references)

    def cite(self, keys: list[str], where: str) -> str:
        """Return the links for `[@a; @b]`; raises SiteError for an unknown key."""
        return f'<span class="cites">[{", ".join(self._link(key, where) for key in keys)}]</span>'

    def _link(self, key: str, where: str) -> str:
        reference = self._references.get(key)
        if reference is None:
            known = ", ".join(sorted(self._references))
            raise SiteError(where, f"cites {key!r}, which references.toml does not have ({known})")
        self._citations[key] = times = self._citations.get(key, 0) + 1
        number = list(self._citations).index(key) + 1
        label = escape(f"Reference {number}: {reference.authors}, {reference.year}")
        return (
            f'<a class="cite" href="#ref-{key}" id="cite-{key}-{times}" '
            f'aria-label="{label}">{number}</a>'
        )

    def html(self) -> str:
        """Return the list of cited works, in order of their numbers."""
        items = "".join(self._item(key, times) for key, times in self._citations.items())
        return f'<ol class="bibliography">\n{items}</ol>\n'

    def _item(self, key: str, times: int) -> str:
        work = self._references[key]
        back = " ".join(
            f'<a class="back" href="#cite-{key}-{time}" aria-label="Back to citation {time}"></a>'
            for time in range(1, times + 1)
        )
        title = escape(work.title)
        linked = f'<a href="{escape(work.url)}">{title}</a>{"" if title[-1] in "?!" else "."}'
        where = " ".join(f"{escape(part)}." for part in (work.venue, work.identifier) if part)
        return (
            f'<li id="ref-{key}"><span class="work">{escape(work.authors)} ({work.year}). '
            f"{linked} {where}</span> {back}</li>\n"
        )
