"""The project's metadata comes from pyproject.toml alone, and can be cited."""

import datetime
import re
import tomllib
from pathlib import Path

import pytest

from site_builder import SiteError
from site_builder.config import ROOT, Project, project

MINIMAL = """
[project]
version = "1.2.0"
license = "MIT"
{urls}
[tool.unfrozen]
date = 2026-03-09
"""


def read(folder: Path, urls: str = "") -> Project:
    """Return the project of a file with these URLs."""
    path = folder / "pyproject.toml"
    path.write_text(MINIMAL.format(urls=urls))
    return Project.read(path)


def test_version_and_licence_are_those_of_the_package() -> None:
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project().version, project().licence) == (given["version"], given["license"])
    assert project().date <= datetime.datetime.now(tz=datetime.UTC).date()


def test_the_date_is_written_as_prose_writes_it(tmp_path: Path) -> None:
    assert read(tmp_path).day == "9 March 2026"


def test_the_entry_to_cite_is_bibtex_and_invents_no_address(tmp_path: Path) -> None:
    entry = read(tmp_path).bibtex()
    assert entry.startswith("@misc{unfrozen2026,\n")
    assert entry.count("{") == entry.count("}")
    fields = dict(re.findall(r"^  (\w+) += \{(.*)\},?$", entry, re.MULTILINE))
    assert fields["author"] == "{The Unfrozen authors}"
    assert fields["note"] == "Version 1.2.0, 9 March 2026"
    assert "url" not in fields


def test_an_address_of_the_source_is_cited_where_there_is_one(tmp_path: Path) -> None:
    urls = '[project.urls]\nSource = "https://example.org/unfrozen"'
    found = read(tmp_path, urls)
    assert found.source == "https://example.org/unfrozen"
    assert "url    = {https://example.org/unfrozen}" in found.bibtex()
    with_site = read(tmp_path, f'{urls}\nHomepage = "https://example.org/site/"')
    assert "url    = {https://example.org/site/}" in with_site.bibtex()


def test_an_address_of_the_site_that_links_cannot_follow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="ends in a slash"):
        read(tmp_path, '[project.urls]\nHomepage = "https://example.org/site"')


def test_the_file_that_forges_cite_from_has_the_version_of_the_project() -> None:
    text = (ROOT / "docs" / "CITATION.cff").read_text()
    fields = dict(re.findall(r'^([\w-]+): "?(.+?)"?$', text, re.MULTILINE))
    assert fields["version"] == project().version
    assert fields["date-released"] == project().date.isoformat()
    assert fields["license"] == project().licence


def test_a_version_without_a_date_stops_the_build(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text('[project]\nversion = "1"\nlicense = "MIT"\n')
    with pytest.raises(SiteError, match="date"):
        Project.read(path)
