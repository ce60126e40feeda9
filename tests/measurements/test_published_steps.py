"""The measurements themselves: every row says what it is, who says so, and how far to trust it."""

import re

from site_builder.measurements import read_runs
from unfrozen.answer.accuracy import GROUPS, PUBLISHED, MeasuredRun
from unfrozen.units import GIB


def first_steps() -> list[MeasuredRun]:
    return [row for row in read_runs() if row.group in GROUPS]


def test_ids_are_unique() -> None:
    ids = [row.id for row in first_steps()]
    assert len(ids) == len(set(ids)), sorted({row_id for row_id in ids if ids.count(row_id) > 1})


def test_the_set_is_as_large_as_promised() -> None:
    published = [row for row in first_steps() if row.group in PUBLISHED]
    assert len(published) >= 24
    assert len(first_steps()) - len(published) >= 10 + 40


def test_every_row_has_a_source_a_quality_and_a_peak() -> None:
    for row in first_steps():
        assert row.name, row.id
        assert row.framework, row.id
        assert row.quality in {"A", "B", "C", "traced"}, row.id
        assert row.counter in {"allocated", "reserved", "device"}, row.id
        assert 0 < row.measured < 1024 * GIB, row.id
        assert (row.parameters is None) == (row.group in PUBLISHED), row.id
        if row.group in PUBLISHED:
            assert re.search(r"https://|arXiv:", row.source), row.id
        else:
            assert {"transformers", "torch"} <= set(re.findall(r"\w+", row.source)), row.id
