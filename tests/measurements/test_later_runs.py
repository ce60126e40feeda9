"""The rows that came later: every one says who says so in which words, and what its job lacks."""

import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import pytest

from site_builder.measurements import (
    FILES,
    MEASUREMENTS,
    read_first_errors,
    read_first_medians,
    read_runs,
)
from unfrozen.answer.accuracy import COLLECTIONS, FOUND, LATER, MEMORY, SPEED, MeasuredRun
from unfrozen.units import GIB

FIGURES = re.compile(r"\d[\d,]*(?:\.\d+)?")


def read(name: str) -> Any:
    """The contents of a file of web/measurements."""
    return json.loads((MEASUREMENTS / name).read_text(encoding="utf-8"))


def later_runs() -> list[MeasuredRun]:
    return [row for row in read_runs() if row.group in COLLECTIONS]


def figures(text: str) -> set[float]:
    """The numbers of a quote."""
    return {float(found.replace(",", "")) for found in FIGURES.findall(text)}


def test_no_two_rows_are_called_the_same_and_none_is_among_the_first() -> None:
    keys = Counter(row.key for row in later_runs())
    assert not [key for key, times in keys.items() if times > 1]
    first = {row.id for row in read_runs() if row.group not in COLLECTIONS}
    assert first
    assert not {row.id for row in later_runs() if row.of == MEMORY} & first


def test_the_sets_are_as_large_as_promised() -> None:
    later = [name for name, group in FILES.items() if group in COLLECTIONS]
    assert [len(read(name)) for name in later] == [68, 189, 47, 69, 64, 57, 57]


def test_every_row_has_a_source_a_quote_and_a_measurement() -> None:
    for row in later_runs():
        assert re.match(r"[\w.-]+/[\w.-]+ |PyTorch forum|gau-nernst/", row.source), row.key
        assert figures(row.quote), row.key
        assert row.quality in {"A", "B"}, row.key
        if row.of == MEMORY:
            assert row.counter in {"allocated", "reserved", "device"}, row.key
            assert 0 < row.measured < 1024 * GIB, row.key
        else:
            assert row.of == SPEED, row.key
            assert 10 < row.measured < 1e6, row.key


@pytest.mark.parametrize("given", read("found_later.json"), ids=lambda given: given["id"])
def test_what_we_found_ourselves_is_worked_out_from_the_quote(given: dict[str, Any]) -> None:
    told, job = figures(given["quote"]), given["job"]
    recipe, cluster = job["recipe"], job["cluster"]
    if "measured_peak_gib" in given:
        peak = given["measured_peak_gib"]
        sizes = (peak, peak * GIB / 1e9, peak * GIB)
        assert any(abs(size / number - 1) < 1e-3 for size in sizes for number in told if number)
        return
    speed = given["measured_tokens_per_second_per_gpu"]
    copies = cluster["gpus"]
    for key in ("tensor_parallel", "context_parallel", "pipeline_parallel"):
        copies //= cluster.get(key, 1)
    tokens = copies * recipe["micro_batch"] * recipe["grad_accum"] * recipe["seq_len"]
    seconds = tokens / speed / cluster["gpus"]
    sizes = (speed, seconds, 1000 * seconds)
    assert any(abs(size / number - 1) < 1e-3 for size in sizes for number in told if number)


def test_what_is_reported_of_rows_is_about_rows_and_has_a_reason() -> None:
    names = {row.id for row in later_runs() if row.group != FOUND}
    for entry in read("documented.json"):
        assert set(entry) <= {"rows", "of", "job", "unsupported", "because"}
        assert entry.get("job") or entry.get("unsupported"), entry
        assert len(entry["because"]) > 20
        for pattern in entry["rows"]:
            assert any(fnmatchcase(name, pattern) for name in names), pattern


@pytest.mark.slow
def test_every_row_has_its_first_look_and_a_commit() -> None:
    known = read("first_look.json")["rows"]
    rows = {row.key for row in later_runs()}
    assert rows == known.keys(), "run docs/first_look.py"
    assert not [row for row in known.values() if not re.fullmatch(r"[0-9a-f]{7}", row["commit"])]


def test_first_looks_are_those_that_were_told_when_the_rows_came() -> None:
    known = read_first_errors()
    came = [row for row in later_runs() if (row.of, row.group) == (MEMORY, LATER)][:60]
    peaks = sorted(abs(known[row.key]) for row in came)  # others were looked for, and moved
    rows = [row for row in later_runs() if (row.of, row.group) == (SPEED, LATER)]
    speeds = sorted(abs(known[row.key]) for row in rows)
    assert (len(peaks), len(speeds)) == (60, 189)
    assert (peaks[29] + peaks[30]) / 2 == pytest.approx(0.116, abs=0.001)
    assert speeds[94] == pytest.approx(0.217, abs=0.001)
    assert {of: row["median"] for of, row in read_first_medians().items()} == {
        "memory": 0.104,
        "speed": 0.215,
    }
