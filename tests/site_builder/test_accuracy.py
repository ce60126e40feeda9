"""The accuracy chapter as printed: every measured step is there, with its numbers."""

import json
import re
from html import unescape

import pytest

from site_builder.accuracy import draw, signed
from site_builder.errors import SiteError
from site_builder.measurements import judged, others
from site_builder.renderings import Renderings
from unfrozen.answer.accuracy import GROUPS, PUBLISHED, TRACED, summarize
from unfrozen.units import GIB


def drawn(part: str) -> str:
    """The HTML of a part, tables included."""
    renderings = Renderings()
    return renderings.fill(draw(part, "chapter.md:1", renderings))


def test_every_step_is_a_ring_on_the_line_of_its_class() -> None:
    lines = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", drawn("strips"), re.DOTALL)
    assert [label for label, _ in lines] == list(GROUPS.values())
    for (_, line), group in zip(lines, GROUPS, strict=True):
        rings = [float(x) for x in re.findall(r'<circle cx="([\d.]+)%"', line)]
        found = [verdict for verdict in judged() if verdict.row.group == group]
        assert len(rings) == len(found)
        assert all(0 <= x <= 100 for x in rings), "an error lies outside the axis"


def test_the_median_and_the_worst_of_a_class_are_printed() -> None:
    html = drawn("strips")
    for summary in summarize(judged()):
        if abs(summary.worst) >= 0.001:
            assert f">{signed(summary.worst)}</td>" in html


def test_every_published_step_shows_both_numbers_its_error_and_a_link() -> None:
    html = unescape(drawn("published"))
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", html, re.DOTALL)
    found = [verdict for group in PUBLISHED for verdict in judged() if verdict.row.group == group]
    assert len(rows) == len(found)
    for row, verdict in zip(rows, found, strict=True):
        assert f">{verdict.row.measured_bytes / GIB:.2f}<" in row
        assert f">{verdict.predicted_bytes / GIB:.2f}<" in row
        assert f">{signed(verdict.error)}<" in row
        assert f">{verdict.row.counter}<" in row
        assert f">{verdict.row.quality}<" in row
        assert '<a href="https://' in row


def test_every_traced_step_stands_in_a_table_that_sorts() -> None:
    html = drawn("traced")
    (data,) = re.findall(r'<script type="application/json" class="data">(.*?)</script>', html)
    rows = json.loads(data)["rows"]
    assert [row[0] for row in rows] == [v.row.id for v in judged() if v.row.group in TRACED]
    assert html.count("<tr>") == len(rows) + 1


def test_other_calculators_stand_beside_the_measurement_and_ours() -> None:
    html = drawn("others")
    for entry in others()["rows"]:
        for answer in entry["answers"]:
            assert f'<a href="{answer["url"]}">{answer["name"]}</a>' in html
    assert html.count(">Measured</th>") == html.count(">This page</th>") == len(others()["rows"])


def test_a_part_that_does_not_exist_is_refused_at_its_line() -> None:
    with pytest.raises(SiteError, match=r"chapter\.md:1: there is no ::: accuracy everything"):
        draw("everything", "chapter.md:1", Renderings())


@pytest.mark.parametrize(
    ("ratio", "text"), [(-0.1058, "−10.6%"), (0.459, "+45.9%"), (-1e-9, "0.0%")]
)
def test_an_error_shows_its_sign_unless_it_rounds_to_nothing(ratio: float, text: str) -> None:
    assert signed(ratio) == text
