"""The accuracy page: every measured step and every later run is there, with its numbers."""

import json
import re
from functools import cache
from html import unescape
from statistics import median
from typing import Any

import pytest

from site_builder.accuracy import (
    LABELS,
    PARTS,
    first_spread,
    format_error,
)
from site_builder.measurements import compare_runs, read_other_calculators
from site_builder.rendering import RenderQueue
from unfrozen.answer.accuracy import (
    COLLECTIONS,
    FOUND,
    GIVEN,
    GROUPS,
    MEMORY,
    PUBLISHED,
    SPEED,
    TRACED,
    spread,
    worst_error,
)
from unfrozen.plan import plan_job
from unfrozen.plan.record import KINDS, SPEEDS
from unfrozen.units import GIB

DATA = re.compile(r'<script type="application/json" class="data">(.*?)</script>', re.DOTALL)


@cache
def drawn(part: str) -> str:
    """Return the HTML of a part, tables and plots included."""
    queue = RenderQueue()
    return queue.fill(PARTS[part]("chapter.md:1", queue))


def data_of(part: str) -> list[Any]:
    """Return the data of a part's tables or plots."""
    return [json.loads(text) for text in DATA.findall(drawn(part))]


def test_every_step_is_under_a_dot_in_the_row_of_its_class() -> None:
    lines = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", drawn("strips"), re.DOTALL)
    assert [label for label, _ in lines] == list(GROUPS.values())
    for (_, line), group in zip(lines, GROUPS, strict=True):
        rings = [float(x) for x in re.findall(r'<circle cx="([\d.]+)%"', line)]
        found = compare_runs(group)
        assert set(rings) == {round(100 * (v.error + 0.3) / 0.85, 2) for v in found}
        assert all(0 <= x <= 100 for x in rings), "an error lies outside the axis"


def test_the_median_and_the_worst_error_of_a_class_are_shown() -> None:
    html = drawn("strips")
    for group in GROUPS:
        worst = worst_error(compare_runs(group))
        if abs(worst) >= 0.001:
            assert f">{format_error(worst)}</td>" in html


def test_every_published_step_shows_both_numbers_its_error_and_a_link() -> None:
    html = unescape(drawn("published"))
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", html, re.DOTALL)
    found = compare_runs(*PUBLISHED)
    assert len(rows) == len(found)
    for row, verdict in zip(rows, found, strict=True):
        assert f">{verdict.row.measured / GIB:.2f}<" in row
        assert f">{verdict.predicted / GIB:.2f}<" in row
        assert f">{format_error(verdict.error)}<" in row
        assert f">{verdict.row.counter}<" in row
        assert f">{verdict.row.quality}<" in row
        assert '<a href="https://' in row


def test_every_traced_step_stands_in_a_table_that_sorts() -> None:
    html = drawn("traced")
    rows = data_of("traced")[0]["rows"]
    assert [row[0] for row in rows] == [v.row.id for v in compare_runs(*TRACED)]
    assert html.count("<tr>") == len(rows) + 1


def test_errors_of_other_calculators_are_those_of_their_answers_on_the_rows_that_they_took() -> (
    None
):
    (table,) = data_of("others")
    lines = {line[0]: line[1:] for line in table["rows"]}
    known = read_other_calculators()
    rows = {item.row.key: item for item in compare_runs(*PUBLISHED, *COLLECTIONS)}
    assert len(table["rows"]) == len(known["calculators"])
    for entry in known["calculators"]:
        errors, ours = [], []
        for key, answer in entry["answers"].items():
            item, unit = rows[key], GIB if entry["of"] == MEMORY else 1
            measured, predicted = item.row.measured, item.predicted
            if entry["process"] and key in known["process"]:
                measured, predicted = known["process"][key] * GIB, plan_job(item.job).device_bytes
            errors.append(answer * unit / measured - 1)
            ours.append(predicted / measured - 1)
        line = lines[entry["name"]]
        assert line[1] == len(entry["answers"])
        for place, found in ((2, errors), (5, ours)):
            assert line[place] == pytest.approx(100 * median(map(abs, found)), abs=0.051)
            within = sum(abs(error) <= line[place + 1] / 100 + 5e-4 for error in found)
            assert within >= 0.9 * len(found)
            low = 100 * sum(error < -0.1 for error in found) / len(found)
            assert line[place + 2] == pytest.approx(low, abs=0.051)
        assert line[-1] == ("ours" if line[5] < line[2] else "theirs")


def test_each_other_calculator_has_its_link_version_and_what_it_lacks() -> None:
    html = unescape(drawn("others"))
    for entry in read_other_calculators()["calculators"]:
        asked = re.search(rf'<li><a href="{re.escape(entry["url"])}">{entry["name"]}</a>.*', html)
        assert asked
        assert f"</a> {entry['version']}: " in asked[0]
        assert entry["lacks"] in asked[0]
        left_out = int(re.findall(r"(\d+) runs left out", asked[0])[0])
        answered = len(entry["answers"]) + len(entry["refused"])
        assert left_out + answered == len(compare_runs(*PUBLISHED, *COLLECTIONS, of=entry["of"]))


@pytest.mark.parametrize(
    ("ratio", "text"), [(-0.1058, "−10.6%"), (0.459, "+45.9%"), (-1e-9, "0.0%")]
)
def test_an_error_shows_its_sign_unless_it_rounds_to_nothing(ratio: float, text: str) -> None:
    assert format_error(ratio) == text


def test_every_kind_of_job_is_a_pair_of_bars_for_memory_and_for_time() -> None:
    plots = data_of("record")
    assert "could not be drawn" not in drawn("record")
    assert [plot["title"] for plot in plots] == ["Memory", "Speed"]
    for plot, of in zip(plots, (MEMORY, SPEED), strict=True):
        kinds = {item.kind for item in compare_runs(*GIVEN, of=of)}
        assert len(plot["x_data"]) == len(kinds)
        assert [line["label"] for line in plot["lines"]] == ["when first compared", "today"]
        assert sum(int(re.findall(r"\((\d+)\)", name)[0]) for name in plot["x_data"]) == len(
            compare_runs(*GIVEN, of=of)
        )


def test_the_bars_are_the_medians_of_the_errors() -> None:
    plots = data_of("record")
    for plot, of in zip(plots, (MEMORY, SPEED), strict=True):
        for place, name in enumerate(plot["x_data"]):
            kind = next(kind for kind in KINDS if name.startswith(f"{LABELS[kind]} ("))
            looks = [item for item in compare_runs(*GIVEN, of=of) if item.kind == kind]
            first, today = (line["data"][place] for line in plot["lines"])
            assert first == round(100 * first_spread(looks).half, 1)
            assert today == round(100 * spread(looks).half, 1)


@pytest.mark.parametrize(("part", "collections"), [("unseen", (FOUND,)), ("kinds", GIVEN)])
def test_a_table_counts_every_run_once(part: str, collections: tuple[str, ...]) -> None:
    (table,) = data_of(part)
    for of, title in ((MEMORY, "Memory"), (SPEED, "Speed")):
        counted = sum(row[2] for row in table["rows"] if row[0] == title)
        assert counted == len(compare_runs(*collections, of=of))


def test_labels_are_those_of_the_kinds() -> None:
    assert list(LABELS) == list(KINDS)


def test_every_kind_of_job_has_its_band_and_the_share_that_the_other_projects_hold() -> None:
    (table,) = data_of("bands")
    assert [row[0] for row in table["rows"]] == list(LABELS.values())
    for row, (kind, found) in zip(table["rows"], SPEEDS.items(), strict=True):
        assert row[1:3] == [found.runs, found.projects], kind
        assert (row[3] is None) != found.known, kind
        if found.known:
            assert row[4] == pytest.approx(100 * found.most, abs=0.11), kind
            assert 88 <= row[5] <= 100, kind
