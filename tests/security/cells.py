"""Cells that attack, from the files in cells/: what each tries, as its reader would type it.

A file has a line on what it holds, and then cells: `== name`, or `== name | word`, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("cells")

USE = """
hits = []
for owner in found.get({name!r}, [])[:20]:
    try:
        tool = getattr(owner, {name!r})
        {use}
        hits.append(str(tool)[:80])
    except BaseException as error:
        pass
hits
"""
"""A cell that uses what hunt.txt has found under a name; it shows what did not refuse."""

SHOW = "[str(getattr(o, {name!r}, ''))[:3000] for o in found.get({name!r}, [])[:50]]"


@dataclass(frozen=True)
class Attack:
    """One cell; `word` is what the page has to say about it, empty if that does not matter."""

    name: str
    code: str
    word: str = ""

    def __str__(self) -> str:
        """Its name, for pytest."""
        return self.name


def attacks(file: str) -> list[Attack]:
    """The cells of one file."""
    text = (FOLDER / f"{file}.txt").read_text()
    found = []
    for part in text.split("\n== ")[1:]:
        title, _, code = part.partition("\n")
        name, _, word = title.partition(" | ")
        found.append(Attack(name, code.strip("\n"), word))
    return found


def searches() -> list[Attack]:
    """Cells that look for the token."""
    places = (FOLDER / "places.txt").read_text().split("\n", 1)[1].split()
    return [Attack(name, SHOW.format(name=name)) for name in places] + attacks("token")


def uses(url: str) -> list[Attack]:
    """Cells that use a tool they must not have; a request of theirs would go to `url`."""
    return [
        Attack(tool.name, f"URL = {url!r}\n" + USE.format(name=tool.name, use=tool.code))
        for tool in attacks("tools")
    ]
