"""What the build reads about the project: pyproject.toml, web/widgets.toml and web/pages.toml.

`[tool.unfrozen] date` is the day of the version, written by hand next to it, so that two builds of
the same files give the same page.
"""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from site_builder import SiteError

ROOT: Final = Path(__file__).resolve().parents[2]
WEB: Final = ROOT / "web"
AUTHORS: Final = "The Unfrozen authors"


@dataclass(frozen=True, slots=True)
class Project:
    """Metadata of the project; `site` and `source` are "" while they have no public address."""

    version: str
    date: datetime.date
    licence: str
    site: str
    source: str

    @classmethod
    def read(cls, path: Path) -> Project:
        """Read a pyproject.toml; raises SiteError when version, licence or date is missing."""
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        project = given.get("project", {})
        date = given.get("tool", {}).get("unfrozen", {}).get("date")
        if not isinstance(date, datetime.date):
            raise SiteError(path.name, "needs the date of its version: [tool.unfrozen] date")
        for key in ("version", "license"):
            if key not in project:
                raise SiteError(path.name, f"needs [project] {key}")
        urls = project.get("urls", {})
        site, source = (urls.get(name, "") for name in ("Homepage", "Source"))
        if site and not re.fullmatch(r"https?://[^\s?#]+/", site):
            raise SiteError(path.name, f"[project.urls] Homepage is {site!r}: it ends in a slash")
        return cls(project["version"], date, project["license"], site, source)

    @property
    def day(self) -> str:
        """The date as prose writes it: 26 November 2026."""
        return f"{self.date.day} {self.date:%B %Y}"

    def bibtex(self) -> str:
        """Return the BibTeX entry that cites this version."""
        fields = {
            "author": f"{{{AUTHORS}}}",
            "title": f"{FRONT.title}: {FRONT.subtitle}",
            "year": str(self.date.year),
            "month": f"{self.date:%b}".lower(),
            "note": f"Version {self.version}, {self.day}",
        }
        if address := self.site or self.source:
            fields["url"] = address
        lines = (f"  {key:<6} = {{{value}}}" for key, value in fields.items())
        body = ",\n".join(lines)
        return f"@misc{{unfrozen{self.date.year},\n{body}\n}}\n"


@cache
def project() -> Project:
    """Return the metadata of this repository."""
    return Project.read(ROOT / "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Widget:
    """One custom element; the fields are explained in `web/widgets.toml`."""

    tag: str
    script: str = ""
    block: str = ""
    python: str = ""
    draw: str = ""
    inline: bool = False

    def first_view(self) -> dict[str, Any]:
        """Return the view of the default state, which the element draws before any script runs."""
        view: dict[str, Any] = import_module(self.python).view({})
        return view


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the site; the fields are explained in `web/pages.toml`.

    Its Markdown is `content`, or else stands in the files of its chapters.
    """

    path: str
    title: str
    description: str
    live: bool = False
    label: str = ""
    chapters: str = ""
    script: str = ""
    subtitle: str = ""
    tool: bool = False
    parts: tuple[str, ...] | None = None
    content: str = ""
    leads: str | None = None

    @property
    def folder(self) -> str:
        """Its folder in the site, as a link ends: "accuracy/"; empty for the front page."""
        return f"{self.path}/" if self.path else ""

    @property
    def is_guide(self) -> bool:
        """Whether it is a page of the documentation."""
        return self.folder.startswith("docs/")

    @property
    def picture(self) -> str:
        """The picture for previews of links: that of the page of the bar that it belongs to."""
        door = self.folder if self.leads is None else self.leads
        return f"pictures/{door.partition('/')[0] or 'article'}.png"

    def link_to(self, path: str) -> str:
        """Return the relative address of a file or folder of the site: "../assets/style.css"."""
        return "../" * self.folder.count("/") + path or "./"


def _page(fields: dict[str, Any]) -> Page:
    return Page(**fields | {"parts": tuple(fields["parts"]) if "parts" in fields else None})


_PAGES: Final = tomllib.loads((WEB / "pages.toml").read_text(encoding="utf-8"))
PAGES: Final = tuple(map(_page, _PAGES["page"]))
EMBEDS: Final = tuple(_page(fields | {"script": "embed.js"}) for fields in _PAGES["embed"])
FRONT: Final = PAGES[0]
RENAMED: Final[dict[str, list[str]]] = _PAGES["renamed"]
"""Older places of the front page, by the address where each is told now."""


def _read_widgets() -> tuple[Widget, ...]:
    table = tomllib.loads((WEB / "widgets.toml").read_text(encoding="utf-8"))
    return tuple(Widget(tag, **fields) for tag, fields in table.items())


WIDGETS: Final = _read_widgets()


def widget_loaders() -> str:
    """Return the source of the module `widgets`, which main.js imports.

    For each widget with a lazily loaded script, it lists the tag, the block and an `import()`.
    """
    entries = ",\n".join(
        f"  [{json.dumps(widget.tag)}, {json.dumps(widget.block)},"
        f" () => import({json.dumps(str(WEB / widget.script))})]"
        for widget in WIDGETS
        if widget.script
    )
    return f"export const WIDGETS = [\n{entries},\n];\n"
