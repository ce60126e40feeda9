"""The record as printed: kinds, medians, and the words that the planner lacks."""

import json
import re
from html import unescape
from typing import Any

import pytest

from site_builder.accuracy import draw
from site_builder.errors import SiteError
from site_builder.later import LABELS, PARTS, first_spread, outside, rows_of, spread
from site_builder.measurements import later
from site_builder.renderings import Renderings
from unfrozen.answer.later import MEMORY, SPEED
from unfrozen.plan.record import KINDS

DATA = re.compile(r'<script type="application/json" class="data">(.*?)</script>', re.DOTALL)


def drawn(part: str) -> tuple[str, list[Any]]:
    """The HTML of a part, and the data in it."""
    renderings = Renderings()
    html = renderings.fill(draw(part, "chapter.md:1", renderings))
    return unescape(html), [json.loads(text) for text in DATA.findall(html)]


def test_every_kind_of_job_is_a_pair_of_bars_for_memory_and_for_time() -> None:
    html, plots = drawn("record")
    assert "could not be drawn" not in html
    assert [plot["title"] for plot in plots] == ["Memory", "Speed"]
    for plot, of in zip(plots, (MEMORY, SPEED), strict=True):
        kinds = {item.kind for item in rows_of(of, found=False)}
        assert len(plot["x_data"]) == len(kinds)
        assert [line["label"] for line in plot["lines"]] == ["when first compared", "today"]
        assert sum(int(re.findall(r"\((\d+)\)", name)[0]) for name in plot["x_data"]) == len(
            rows_of(of, found=False)
        )


def test_the_bars_are_the_medians_of_the_rows() -> None:
    _, plots = drawn("record")
    for plot, of in zip(plots, (MEMORY, SPEED), strict=True):
        for place, name in enumerate(plot["x_data"]):
            kind = next(kind for kind in KINDS if name.startswith(f"{LABELS[kind]} ("))
            looks = [item for item in rows_of(of, found=False) if item.kind == kind]
            first, today = (line["data"][place] for line in plot["lines"])
            assert first == round(100 * first_spread(looks).half, 1)
            assert today == round(100 * spread(looks).half, 1)


@pytest.mark.parametrize(("part", "found"), [("unseen", True), ("kinds", False)])
def test_a_table_counts_every_row_once(part: str, found: bool) -> None:
    _, (table,) = drawn(part)
    for of, title in ((MEMORY, "Memory"), (SPEED, "Speed")):
        counted = sum(row[2] for row in table["rows"] if row[0] == title)
        assert counted == len(rows_of(of, found))


def test_what_is_refused_is_told_by_the_word_that_is_missing() -> None:
    _, (table,) = drawn("words")
    refused = {row[0]: row[2] for row in table["rows"] if row[1] == "refused"}
    assert sum(refused.values()) == sum(bool(item.refused) for item in later())
    assert all(re.match(r"(model|recipe|cluster|gpu)\b", word) for word in refused)


def test_labels_are_those_of_the_kinds() -> None:
    assert list(LABELS) == list(KINDS)


def test_what_is_outside_was_tried() -> None:
    assert set(outside()) <= {
        "pipelines",
        "experts on GPUs of their own",
        "models of an encoder and a decoder",
    }


def test_a_part_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SiteError, match=", ".join(PARTS)):
        draw("everything", "chapter.md:1", Renderings())
