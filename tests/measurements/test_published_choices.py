"""Layouts that frameworks publish: the planner's first choice, near it in time, or told why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import matrix
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.layouts import DIMENSIONS, NEAR, Layout, layouts

FILE = Path(__file__).with_name("choices.json")
ROWS: dict[str, dict[str, Any]] = {
    row["source"]: row for row in json.loads(FILE.read_text("utf-8"))["choices"]
}
SHARED = (*(key for key, _ in DIMENSIONS), "expert_parallel")
OPEN = ("micro_batch", "checkpointing")  # safe defaults of a recipe, searched here
EVERY = 10_000
ALWAYS = [name for name in ROWS if "8B_full" in name or "qwen25_7b" in name]


def found(row: dict[str, Any]) -> list[Layout]:
    """Every layout of a row's model and step, the planner's choice first."""
    recipe = {key: value for key, value in row["recipe"].items() if key not in OPEN}
    offload = row["cluster"].get("offload")
    given = {
        "model": CATALOGUE[row["model"]].config,
        "gpu": row["gpu"],
        "recipe": {"attention": "flash"} | recipe,
        "cluster": {"offload": offload, "sharding": "zero3"} if offload else {},
    }
    takes = FRAMEWORKS[row["framework"]].adapt if row["framework"] else None
    return layouts(Job.read(given), row["gpus"], row["sequences"], takes, EVERY)


def mesh(layout: Layout) -> dict[str, int]:
    return {key: getattr(layout.job.cluster, key) for key in SHARED}


def published(row: dict[str, Any]) -> dict[str, int]:
    return {key: row["cluster"].get(key, 1) for key in SHARED}


@pytest.mark.slow
@pytest.mark.parametrize("source", matrix(ROWS, *ALWAYS))
def test_a_published_layout_is_the_first_near_it_or_there_is_a_reason(source: str) -> None:
    row = ROWS[source]
    every = found(row)
    same = [one.seconds for one in every if mesh(one) == published(row)]
    is_near = min(same) <= (1 + NEAR) * every[0].seconds
    assert is_near != ("why" in row), (min(same) / every[0].seconds, mesh(every[0]))


def test_the_table_is_long_enough_and_most_rows_need_no_reason() -> None:
    assert len(ROWS) >= 25
    assert sum("why" in row for row in ROWS.values()) <= len(ROWS) // 8
    assert not [row for row in ROWS.values() if not (row["quote"] and row["source"][0] in "Mt")]
