"""The guides are pages of the site: each is listed, and its links lead on a forge and here."""

from __future__ import annotations

import json
import re

import pytest

from site_builder import SiteError, guides, search
from site_builder.config import FRONT, PAGES
from site_builder.guides import DOCS


def test_every_guide_is_a_page_with_the_first_sentence_of_its_prose() -> None:
    found = {page.path for page in guides.pages()}
    names = {*(path.stem.lower() for path in DOCS.glob("*.md")), "reference"}
    assert found == {f"docs/{name}" for name in names}
    for page in guides.pages():
        assert re.match(r"[\w.]", page.description), page.path
        assert not re.search(r"[`|]|\]\(", page.description), page.path


def test_the_list_has_every_guide_once_and_others_in_its_last_group() -> None:
    (top,) = (page for page in PAGES if page.path == "docs")
    listed = re.findall(r"^- \[.+?\]\((.+)\.md\) – \S", guides.list_guides(top.content), re.M)
    assert sorted(f"docs/{name}" for name in listed) == sorted(p.path for p in guides.pages())
    assert guides.list_guides("## Plan\ngpus\n## Rest\n").split("## Rest")[1].count("- [") > 10


def test_a_relative_link_of_a_guide_is_a_file_on_a_forge() -> None:
    links = [
        (page.path, link)
        for page in guides.pages()
        for link in re.findall(r"\]\((?!#|[a-z]+:)([^)#]+)", page.content)
    ]
    assert len(links) > 20
    assert not [(path, link) for path, link in links if not (DOCS / link).exists()]


def test_a_link_leads_to_the_page_of_a_guide_a_chapter_or_a_copied_file() -> None:
    page = guides.pages()[0]

    def led(target: str) -> str:
        return guides.lead_to_site(f'<a href="{target}">x</a>', page)

    assert led("SECURITY.md#x") == '<a href="../../docs/security/#x">x</a>'
    assert led("watch/loop.py") == '<a href="../../docs/watch/loop.py">x</a>'
    assert led("../web/article/03-forgetting.md") == '<a href="#forgetting">x</a>'
    for same in ("#x", "https://example.org/a.md"):
        assert led(same) == f'<a href="{same}">x</a>'
    with pytest.raises(SiteError, match=r"the link to \.\./build\.py leads nowhere"):
        led("../build.py")


def test_the_index_has_each_section_with_its_page_address_and_words() -> None:
    html = "<p>One <b>bold</b> word</p><table><tr><td>a</td><td>b</td></tr></table>"
    html += '<script>no()</script><h3 id="two">Two <a href="#two"></a></h3><p>after</p>'
    found = json.loads(search.index([(FRONT, "one", "One", html)]))
    assert found == [
        ["Article", "#one", "One", "One bold word a b"],
        ["Article", "#two", "Two", "after"],
    ]
