"""The bibliography: numbers, links, and identifiers that can be read on paper."""

from pathlib import Path

import pytest

from site_builder.bibliography import Bibliography, Reference

ARTICLE = Path(__file__).parents[2] / "web" / "article"


def printed(title: str, url: str) -> str:
    work = Reference("A. Author", 2020, title, "A venue", url)
    bibliography = Bibliography({"key": work})
    bibliography.cite(["key"], "chapter.md:1")
    return bibliography.html()


@pytest.mark.parametrize(
    ("url", "identifier"),
    [
        ("https://arxiv.org/abs/1801.06146", "A venue. arXiv:1801.06146.</span>"),
        ("https://doi.org/10.1016/S1364-6613(99)01294-2", "doi:10.1016/S1364-6613(99)01294-2."),
        ("https://example.org/paper", "A venue.</span>"),
    ],
)
def test_a_work_has_its_arxiv_number_or_doi(url: str, identifier: str) -> None:
    html = printed("A title", url)
    assert identifier in html
    assert f'<a href="{url}">A title</a>. ' in html


def test_a_title_that_ends_in_a_question_needs_no_full_stop() -> None:
    assert "Why?</a> A venue" in printed("Why?", "https://example.org")


def test_no_work_stands_in_the_file_twice_and_all_are_complete() -> None:
    works = Bibliography.read(ARTICLE / "references.toml")._references
    assert len({work.url for work in works.values()}) == len(works) >= 20
    assert len({work.title.lower() for work in works.values()}) == len(works)
    for key, work in works.items():
        assert work.url.startswith("https://"), key
        assert 1980 < work.year < 2030, key
        assert work.authors[0] == work.authors[0].upper(), key
