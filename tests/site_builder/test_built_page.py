"""The built page: complete without a script, independent of its host, reproducible."""

import hashlib
import json
import re
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from site_builder import browser_python, disk_cache
from site_builder.page import build_site
from unfrozen.answer.shapes import schemas
from unfrozen.planner import glance
from unfrozen.schema import policy

pytestmark = pytest.mark.slow  # they build the site

ARTICLE = Path(__file__).parents[2] / "web" / "article"
VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr", "source"}


class Outline(HTMLParser):
    """Every element as (tag, attributes), and the text inside each live cell, by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.drawn: dict[str, set[str]] = {}
        self.texts: dict[str, list[str]] = {}
        self.cell = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.elements.append((tag, named))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "live-cell":
            self.cell = named["id"]
            self.drawn[self.cell] = set()
            self.texts[self.cell] = []
        elif self.cell:
            self.drawn[self.cell].add(tag)
            if named.get("class") in {"cell-stdout", "cell-value"}:
                self.texts[self.cell].append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        if tag == "live-cell":
            self.cell = ""

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(site: Path) -> str:
    """The text of index.html."""
    return (site / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(html: str) -> Outline:
    """The elements of index.html; fails when a tag is left open or closed twice."""
    outline = Outline(html)
    assert not outline.open
    return outline


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".stamp"
    }


@pytest.mark.matrix
def test_the_same_sources_give_the_same_bytes(
    site: Path, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "CACHE", tmp_path / "made")
    monkeypatch.setenv("UNFROZEN_NODE", node)
    browser_python.python_files.cache_clear()  # compile everything again
    build_site(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(site)


def test_every_result_is_on_the_page_before_any_script_runs(outline: Outline) -> None:
    assert outline.drawn
    for cell, tags in outline.drawn.items():
        assert "pre" in tags, f"{cell} shows no source"
        results = {"data-table", "data-plot"} & tags or outline.texts[cell]
        assert results, f"{cell} shows no result"
        assert "data-table" not in tags or "td" in tags, f"{cell} has a table without cells"
        assert "data-plot" not in tags or "path" in tags or "rect" in tags, f"{cell} drew nothing"


def test_no_mark_of_a_template_is_left_in_the_text(html: str) -> None:
    text = html.partition("</style>")[2]
    for mark in ("{%", "%}", "{#", "{{ "):
        assert mark not in text, mark


def test_the_source_of_a_cell_is_unchanged(html: str) -> None:
    written = "".join(path.read_text() for path in sorted(ARTICLE.glob("*.md")))
    sources = re.findall(r"```python cell [^\n]*\n(.*?)\n```", written, re.DOTALL)
    hashes = [hashlib.sha256(source.encode()).hexdigest()[:16] for source in sources]
    assert re.findall(r'data-hash="(\w+)"', html) == hashes


def test_a_figure_that_shows_a_table_alone_is_called_one(html: str) -> None:
    for name, kind in (("optimizers", "Table"), ("methods", "Figure"), ("zero-curve", "Figure")):
        [figure] = re.findall(rf'<figure id="fig-{name}".*?</figcaption>', html, re.DOTALL)
        [(word, number)] = re.findall(r"<figcaption><b>(\w+)\u00a0(\d+)", figure)
        assert word == kind
        linked = re.findall(rf'<a href="#fig-{name}">(.*?)</a>', html)
        assert {text for text in linked if "\u00a0" in text} <= {f"{kind}\u00a0{number}"}


def test_the_curve_over_gpus_agrees_with_the_planner(html: str) -> None:
    [cell] = re.findall(r'<live-cell id="zero-curve".*?</live-cell>', html, re.DOTALL)
    [data] = re.findall(r'<data-plot><script[^>]*class="data">(.*?)</script>', cell)
    plot = json.loads(data)
    assert "planner's own recipe" in plot["title"]
    for line, stage in zip(plot["lines"], ("zero1", "zero2", "zero3"), strict=True):
        for gpus, shown in zip(plot["x_data"], line["data"], strict=True):
            state = {"gpus": str(gpus), "sharding": stage if gpus > 1 else "none"}
            planned: Any = glance(state)
            assert shown == round(planned["bar"]["total"]["bytes"] / 2**30, 2)


def test_a_table_of_the_text_is_named_by_its_columns(html: str) -> None:
    labels = re.findall(
        r'<div class="plain-table" tabindex="0" role="region" aria-label="(.*?)">', html
    )
    assert len(labels) == html.count('class="plain-table" tabindex="0"')
    assert "Table: What is kept, Precision, Bytes" in labels


def test_embedded_data_is_json_that_cannot_leave_its_element(html: str) -> None:
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert blocks
    for block in blocks:
        json.loads(block)
        assert "<" not in block


def test_the_page_loads_nothing_from_other_hosts(outline: Outline) -> None:
    loading = {"src", "srcset", "data", "poster", "action"}
    for tag, attributes in outline.elements:
        addresses = [value for name, value in attributes.items() if name in loading]
        if tag == "link":
            addresses.append(attributes["href"])
        for address in addresses:
            assert not re.match(r"(?:[a-z]+:)?/", address), f"<{tag}> loads {address}"


def test_every_file_the_page_names_is_there(outline: Outline, site: Path) -> None:
    named = [a["href"] for a in outline.all("link")] + [
        a["src"] for a in outline.all("script") if "src" in a
    ]
    assert len(named) >= 5
    assert not [name for name in named if not (site / name).is_file()]


def test_the_policy_of_the_page_fits_its_markup(outline: Outline, html: str) -> None:
    policies = [a["content"] for a in outline.all("meta") if "http-equiv" in a]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert policies == [policy.with_style(style)]
    assert "unsafe-inline" not in policies[0]
    assert len(outline.all("style")) == 1
    for tag, attributes in outline.elements:
        assert "style" not in attributes, f"<{tag}> has a style attribute"
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or "src" in attributes or attributes["type"] == "application/json"


def test_ids_are_unique_and_inner_links_arrive(outline: Outline) -> None:
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in outline.all("a") if a["href"].startswith("#")}
    assert targets <= set(ids)


def test_headings_go_down_one_level_at_a_time(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert not [(before, after) for before, after in pairwise(levels) if not after - before <= 1]


def test_every_figure_has_a_caption_with_a_takeaway(html: str) -> None:
    figures = re.findall(
        r'<figure id="fig-[^"]*".*?<figcaption>(.*?)</figcaption>', html, re.DOTALL
    )
    assert len(figures) == html.count('<figure id="fig-')
    for caption in figures:
        words = re.sub(r"<[^>]+>", "", caption).split()
        assert len(words) >= 8, f"no takeaway: {' '.join(words)}"


def test_every_work_in_the_bibliography_is_cited(html: str) -> None:
    listed = tomllib.loads((ARTICLE / "references.toml").read_text())
    assert listed
    assert [key for key in listed if f'id="ref-{key}"' not in html] == []


def test_every_term_of_the_glossary_is_used_outside_it(html: str) -> None:
    [glossary] = re.findall(r'<div class="glossary">.*?</dl>', html, re.DOTALL)
    shown = re.sub(r"<script.*?</script>|<[^>]+>", "", html.replace(glossary, ""), flags=re.DOTALL)
    names = ", ".join(re.findall(r'<dt id="term-[^"]+">(.*?)</dt>', glossary)).split(", ")
    assert len(names) > 20
    assert [name for name in names if name.lower() not in shown.lower()] == []


def test_the_archive_for_the_browser_has_what_cells_import() -> None:
    names = [name for name, _ in browser_python.python_sources()]
    assert "unfrozen/schedules.py" in names
    assert "unfrozen/memory/classic.py" in names
    assert "pycell/cell.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_the_schemas_of_jobs_and_answers_are_at_their_address(site: Path) -> None:
    found = {file.stem: json.loads(file.read_text()) for file in (site / "schema").glob("*.json")}
    assert found == schemas()
