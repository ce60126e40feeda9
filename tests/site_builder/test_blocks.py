"""Blocks of the chapters: folded answers, terms, and parts that do not exist."""

import re
from pathlib import Path

import pytest

from site_builder import SiteError
from site_builder.page import render_chapters

GLOSSARY = Path(__file__).parents[2] / "web" / "article" / "11-glossary.md"


def printed(folder: Path, text: str) -> str:
    """Return the HTML of one chapter with this text."""
    (folder / "references.toml").write_text("")
    (folder / "01-one.md").write_text(f"# One\n\n{text}\n")
    return render_chapters(folder)[0].html


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ("diagram", "step, recompute, zero, formats, row, packing, pulls, frontier, symptoms"),
        (
            "accuracy",
            "strips, published, traced, others, record, bands, unseen, kinds, reported, words",
        ),
        ("lora-runs", "methods"),
    ],
)
def test_an_unknown_part_stops_the_build_and_lists_the_others(
    tmp_path: Path, block: str, parts: str
) -> None:
    with pytest.raises(SiteError, match=f"no ::: {block} spiral; choose one of {parts}") as caught:
        printed(tmp_path, f"::: {block} spiral\n:::")
    assert caught.value.where == "01-one.md:3"


def test_the_glossary_is_in_alphabetical_order_and_fits_a_page() -> None:
    terms = re.findall(r"^(.+)\n: ", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    assert terms == sorted(terms, key=str.lower)
    assert len(terms) == len(set(terms)) <= 36


def test_a_term_can_be_linked_to_and_a_symbol_is_left_alone(tmp_path: Path) -> None:
    html = printed(tmp_path, "loss mask\n: What counts.\n\n$s$\n: A symbol.")
    assert '<dt id="term-loss-mask">' in html
    assert html.count("<dt") == 2
    assert html.count("<dt id") == 1
