"""The printed page: light, whole, and all of it from its own origin."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page

from conftest import StaticSite
from house.weight import BUDGET_BYTES, brotli_bytes, fetched_paths

LOADING = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
}


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


def links(site: Path) -> Links:
    """The links of the front page."""
    return Links((site / "index.html").read_text())


def test_the_page_loads_nothing_from_elsewhere_and_works_below_any_path(site: Path) -> None:
    for target in links(site).loads:
        assert not urlsplit(target).scheme or target.startswith("data:"), target
        assert not target.startswith("/"), target
        assert (site / urlsplit(target).path).is_file() or target.startswith("data:"), target


def test_internal_links_lead_to_something(site: Path) -> None:
    found = links(site)
    for target in found.leads:
        parts = urlsplit(target)
        if not parts.scheme and parts.path in ("", "./", "index.html"):
            assert not parts.fragment or parts.fragment in found.ids, target
        elif not parts.scheme:
            assert (site / parts.path).is_file(), target


def test_no_two_elements_share_an_id(site: Path) -> None:
    ids = links(site).ids
    assert len(ids) == len(set(ids)), sorted({name for name in ids if ids.count(name) > 1})


def test_style_sheets_and_scripts_name_no_other_origin(site: Path) -> None:
    for path in [*site.glob("assets/*.css"), *site.glob("*.css")]:
        text = path.read_text()
        assert "url(http" not in text, path.name
        assert "url(//" not in text, path.name
        assert "@import" not in text, path.name


def test_a_first_visit_is_light(page: Page, static_site: StaticSite, site: Path) -> None:
    sizes = brotli_bytes(site, fetched_paths(page, static_site.url))
    assert "index.html" in sizes
    assert sum(sizes.values()) <= BUDGET_BYTES, sizes
