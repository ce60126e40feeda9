"""Who wrote this, which version it is, where its source lies: read from pyproject.toml alone.

`[tool.unfrozen] date` is the day of that version, written by hand beside it, so that two builds of
the same files give the same page.
"""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from site_builder.errors import SiteError

PYPROJECT: Final = Path(__file__).resolve().parents[2] / "pyproject.toml"
AUTHORS: Final = "The Unfrozen authors"
TITLE: Final = "Unfrozen"
SUBTITLE: Final = (
    "Full fine-tuning of language models: what it costs, what it moves, and how to watch it happen"
)


@dataclass(frozen=True, slots=True)
class Project:
    """What the page says about itself; `source` is None where no address is public yet."""

    version: str
    date: datetime.date
    licence: str
    source: str | None

    @classmethod
    def read(cls, path: Path = PYPROJECT) -> Project:
        """Read it from a pyproject.toml; raises SiteError where version, licence or date lack."""
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        project = given.get("project", {})
        date = given.get("tool", {}).get("unfrozen", {}).get("date")
        if not isinstance(date, datetime.date):
            raise SiteError(path.name, "needs the day of its version: [tool.unfrozen] date")
        for key in ("version", "license"):
            if key not in project:
                raise SiteError(path.name, f"needs [project] {key}")
        source = project.get("urls", {}).get("Source")
        return cls(project["version"], date, project["license"], source)

    @property
    def day(self) -> str:
        """The date as prose writes it: 26 November 2026."""
        return f"{self.date.day} {self.date:%B %Y}"

    def bibtex(self) -> str:
        """The entry that cites this version."""
        fields = {
            "author": f"{{{AUTHORS}}}",
            "title": f"{TITLE}: {SUBTITLE}",
            "year": str(self.date.year),
            "month": f"{self.date:%b}".lower(),
            "note": f"Version {self.version}, {self.day}",
        }
        if self.source:
            fields["url"] = self.source
        lines = (f"  {key:<6} = {{{value}}}" for key, value in fields.items())
        body = ",\n".join(lines)
        return f"@misc{{unfrozen{self.date.year},\n{body}\n}}\n"


@cache
def project() -> Project:
    """The project this file belongs to."""
    return Project.read()
