"""Blocks of the chapters: takeaways repeated at the end, folded answers, metrics and terms."""

import re
from html import escape
from pathlib import Path

import pytest

from site_builder import SiteError
from site_builder.page import render_chapters
from unfrozen.events import COMPONENTS, INSTANTS, METRICS

GLOSSARY = Path(__file__).parents[2] / "web" / "article" / "10-glossary.md"


def printed(folder: Path, text: str) -> str:
    """Return the HTML of one chapter with this text."""
    (folder / "references.toml").write_text("")
    (folder / "01-one.md").write_text(f"# One\n\n{text}\n")
    return render_chapters(folder)[0].html


def test_takeaways_are_repeated_in_order_with_backlinks(tmp_path: Path) -> None:
    block = "::: takeaway\n{}\n:::\n\n"
    html = printed(
        tmp_path, block.format("First *one*.") + block.format("Second.") + "::: takeaways\n:::"
    )
    gathered = re.findall(r"<li>(.*?)</li>", html, re.DOTALL)
    assert [re.sub(r"<[^>]+>", "", item).strip() for item in gathered] == [
        "First one. ↑",
        "Second. ↑",
    ]
    assert ['href="#takeaway-1"' in gathered[0], 'href="#takeaway-2"' in gathered[1]] == [
        True,
        True,
    ]


def test_an_answer_is_hidden_until_it_is_asked_for_and_needs_no_script(tmp_path: Path) -> None:
    html = printed(tmp_path, ":::: problem How many?\nAsk.\n\n::: answer\nSeven.\n:::\n::::")
    assert '<p class="problem-title">How many?</p>' in html
    assert "<p>Ask.</p>\n<details" in html
    assert re.search(r"<summary>Answer</summary>\n<p>Seven.</p>\n</details>", html)


def test_a_problem_without_a_title_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="needs a title"):
        printed(tmp_path, "::: problem\nAsk.\n:::")


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ("diagram", "step, recompute, zero, formats, row, packing, pulls"),
        ("accuracy", "strips, published, traced, others, record, unseen, kinds, words"),
        ("lora-runs", "methods, learned, lost, all"),
    ],
)
def test_an_unknown_part_stops_the_build_and_lists_the_others(
    tmp_path: Path, block: str, parts: str
) -> None:
    with pytest.raises(SiteError, match=f"no ::: {block} spiral; choose one of {parts}") as caught:
        printed(tmp_path, f"::: {block} spiral\n:::")
    assert caught.value.where == "01-one.md:3"


def test_every_metric_has_its_row_with_its_meaning(tmp_path: Path) -> None:
    html = printed(tmp_path, "::: metrics\n:::").replace("<wbr>", "")
    rows = dict(re.findall(r"<dt[^>]*><code>(.*?)</code></dt>\n<dd>(.*?)</dd>", html))
    assert list(rows) == [metric.name for metric in METRICS]
    for metric in METRICS:
        assert escape(metric.meaning) in rows[metric.name]


def test_every_instant_and_component_of_a_run_has_a_meaning_in_the_glossary() -> None:
    terms = re.findall(r"^(.+)\n: ", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*INSTANTS.values(), *COMPONENTS.values()} <= set(terms)
    assert len(terms) == len(set(terms))
    assert "::: metrics" in GLOSSARY.read_text(encoding="utf-8")


def test_the_glossary_is_in_alphabetical_order() -> None:
    words = GLOSSARY.read_text(encoding="utf-8").split("## Words")[1].split("\n## ")[0]
    terms = re.findall(r"^(.+)\n: ", words, re.MULTILINE)
    assert terms == sorted(terms, key=str.lower)


def test_a_term_can_be_linked_to_and_a_symbol_is_left_alone(tmp_path: Path) -> None:
    html = printed(tmp_path, "loss mask\n: What counts.\n\n$s$\n: A symbol.")
    assert '<dt id="term-loss-mask">' in html
    assert html.count("<dt") == 2
    assert html.count("<dt id") == 1
