"""How estimates of time stand beside speeds that others published: the rows judge."""

from __future__ import annotations

import json
from pathlib import Path

from unfrozen.job import Job
from unfrozen.plan.record import Spread
from unfrozen.plan.step_time import step_time, step_tokens

ROWS = Path(__file__).parents[3] / "web" / "measurements" / "speeds_later.json"
TARGET_MEDIAN, TARGET_NINE_IN_TEN = 0.12, 1 / 3


def test_half_of_the_published_speeds_lie_within_an_eighth_and_nine_in_ten_within_a_third() -> None:
    errors = []
    for row in json.loads(ROWS.read_text("utf-8")):
        job = Job.read(row["job"])
        speed = step_tokens(job) / step_time(job).seconds / job.cluster.gpus
        errors.append(speed / row["measured_tokens_per_second_per_gpu"] - 1)
    found = Spread.of(errors)
    assert found.half <= TARGET_MEDIAN
    assert found.most <= TARGET_NINE_IN_TEN
