"""The printed page: light, whole, and all of it from its own origin."""

import re
import struct
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from browser.drawing import laid_out
from conftest import StaticSite
from house.weight import BUDGET_BYTES, brotli_bytes, fetched_paths
from site_builder.config import RENAMED

LOADING = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
}

MOST_ELEMENTS, MOST_WORDS = 9_000, 15_000
DOCUMENT = """() => {
  const words = document.body.innerText.split(/\\s+/).length; // code and labels of plots among them
  return [document.querySelectorAll("*").length, words];
}"""
NAMESPACES = "www.w3.org"  # names of SVG and MathML, which nobody fetches
HUB = "huggingface.co"


class Links(HTMLParser):
    """Collects what a page loads, where it leads, and the ids one can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one start tag."""
        for name, value in attrs:
            if value is not None and (tag, name) in LOADING:
                self.loads.append(value)
            if value is not None and (tag, name) == ("a", "href"):
                self.leads.append(value)
            if value is not None and name == "id":
                self.ids.append(value)


def links(page: Path) -> Links:
    """The links of a page."""
    return Links(page.read_text())


def pages(site: Path) -> list[Path]:
    """Every page of the site."""
    return sorted(site.rglob("*.html"))


def test_a_page_loads_nothing_from_elsewhere_and_works_below_any_path(site: Path) -> None:
    for page in pages(site):
        loads = links(page).loads
        assert any(target.endswith(".js") for target in loads)
        for target in loads:
            assert not urlsplit(target).scheme or target.startswith("data:"), target
            assert not target.startswith("/"), target
            found = (page.parent / urlsplit(target).path).is_file()
            assert found or target.startswith("data:"), target


def test_internal_links_lead_to_something(site: Path) -> None:
    found = {page: links(page) for page in pages(site)}
    front = found[site / "index.html"]
    front.leads += RENAMED
    assert not set(front.ids) & set(chain(*RENAMED.values()))
    assert sum(len(one.leads) for one in found.values()) > 100
    for page, one in found.items():
        for target in one.leads:
            parts = urlsplit(target)
            there = (page.parent / parts.path).resolve() if parts.path else page.resolve()
            there = there / "index.html" if there.is_dir() else there
            if not parts.scheme and there.suffix == ".html":
                assert not parts.fragment or parts.fragment in found[there].ids, target
            elif not parts.scheme:
                assert there.is_file(), target


def test_each_page_has_a_picture_for_previews_of_links_to_it(site: Path) -> None:
    for page in pages(site):
        (named,) = re.findall(r'property="og:image" content="([^"]+)"', page.read_text())
        data = (page.parent / named).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n", named
        assert struct.unpack(">II", data[16:24]) == (1200, 630), named
        assert len(data) < 50_000, named
    kept = (site / "service-worker.js").read_text().splitlines()[0]
    assert "docs/scale/index.html" in kept
    assert not re.findall(r'"(embed/[^"]*|[^"]*\.png)"', kept), "no use without a network"


def test_no_two_elements_share_an_id(site: Path) -> None:
    for page in pages(site):
        ids = links(page).ids
        assert ids
        assert len(ids) == len(set(ids)), sorted({name for name in ids if ids.count(name) > 1})


def style_of(page: Path) -> str:
    """The text of a page's style sheet, which stands in it."""
    (style,) = re.findall(r"<style>(.*?)</style>", page.read_text(), re.DOTALL)
    assert "{" in style
    return str(style)


def named_origins(text: str) -> set[str]:
    """Hosts that a script or a style sheet names after a scheme, in `url(` or in `@import`."""
    schemes = re.findall(r"(?:https?|wss?)://([\w.-]+)", text)
    bare = re.findall(r"(?:url\(\s*|@import\s+|import\(?\s*|from\s*)[\"']?//([\w.-]+)", text)
    return {*schemes, *bare}


def test_style_sheets_and_scripts_name_no_other_origin(site: Path) -> None:
    """All but those of Pyodide itself, whose worker gives everything away that could ask."""
    ours = [p for end in ("js", "mjs") for p in site.rglob(f"*.{end}")]
    ours = [path for path in ours if path.relative_to(site).parts[0] != "pyodide"]
    assert [path.suffix for path in ours].count(".js") >= 10
    for path in ours:
        text = path.read_text()
        asked = {HUB} if "for its config.json" in text else set()  # by the planner's button
        assert named_origins(text) <= {NAMESPACES} | asked, path.name
    for page in pages(site):
        assert named_origins(style_of(page)) <= {NAMESPACES}, page
        assert "@import" not in style_of(page)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("@import 'https://a.example/x.css'", "a.example"),
        ("a { background: url(//b.example/x.png) }", "b.example"),
        ('a { background: url("http://c.example/x.png") }', "c.example"),
        ('import("//d.example/x.js")', "d.example"),
        ('import{x}from"//e.example/x.js"', "e.example"),
        ("new WebSocket(`wss://f.example`)", "f.example"),
    ],
)
def test_another_origin_is_found_however_it_is_named(text: str, origin: str) -> None:
    assert named_origins(text) == {origin}
    assert named_origins("a { background: url(data:x) } import('./x.js') // so") == set()


@pytest.mark.parametrize("name", BUDGET_BYTES)
def test_a_first_visit_is_light(page: Page, static_site: StaticSite, site: Path, name: str) -> None:
    sizes = brotli_bytes(site, fetched_paths(page, static_site.url, name))
    assert f"{name}index.html" in sizes
    assert any(path.endswith(".js") for path in sizes)
    assert sum(sizes.values()) <= BUDGET_BYTES[name], sizes


def test_the_article_is_a_light_document(page: Page, static_site: StaticSite) -> None:
    page.goto(static_site.url)
    page.locator("python-status[data-phase]").wait_for()
    laid_out(page)
    elements, words = page.evaluate(DOCUMENT)
    assert 5_000 < elements <= MOST_ELEMENTS
    assert 10_000 < words <= MOST_WORDS
