"""Layouts that the runner lacks: set in the page, kept in its address, told in others' words."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.planner import glance
from unfrozen.planner.state import as_query, job_json, parse_query, read_job, read_state

INTERLEAVED = {
    "gpus": "64",
    "sharding": "zero1",
    "grad_accum": "16",
    "tensor_parallel": "4",
    "pipeline_parallel": "4",
    "pipeline_schedule": "interleaved",
    "pipeline_chunks": "4",
}
UNEVEN = {
    "gpus": "4",
    "grad_accum": "8",
    "pipeline_parallel": "4",
    "pipeline_layers": "7, 9, 9, 7",
}
EXPERTS = {
    "model": "Qwen/Qwen3-30B-A3B",
    "gpus": "64",
    "sharding": "zero3",
    "expert_parallel": "8",
}
COPIES = {"gpus": "16", "sharding": "zero3", "grad_accum": "16", "shard_size": "8"}
STATES = (INTERLEAVED, UNEVEN, EXPERTS, COPIES)


def shown(given: dict[str, str]) -> dict[str, Any]:
    """What the page shows of a state."""
    return glance(read_state(given))


def differs(given: dict[str, str]) -> str:
    """What the page says the command does otherwise."""
    return "; ".join(shown(given)["commands"]["differs"])


@pytest.mark.parametrize("given", STATES)
def test_a_layout_stays_in_the_address(given: dict[str, str]) -> None:
    state = read_state(given)
    assert parse_query(as_query(state)) == state
    assert read_job(state).cluster == read_job(parse_query(as_query(state))).cluster


def test_stages_are_told_apart_by_commas() -> None:
    assert job_json(read_state(UNEVEN))["cluster"]["pipeline_layers"] == [7, 9, 9, 7]  # type: ignore[index]
    with pytest.raises(PlanError, match=r"pipeline_layers.*whole numbers.*8, 8"):
        read_job(read_state({**UNEVEN, "pipeline_layers": "many"}))


def test_a_layout_that_the_runner_lacks_is_told() -> None:
    assert "Pipeline parallel size: 1, not 4" in differs(INTERLEAVED)
    assert "Expert parallel size: 1, not 8" in differs(EXPERTS)
    assert "none, not 8" in differs({**COPIES, "sharding": "zero1"})


def test_the_runner_itself_keeps_copies_of_sharded_models() -> None:
    told = shown(COPIES)["commands"]
    assert "--set shard_size=8" in told["run"].replace("\\\n  ", "")
    assert "none, not 8" not in "; ".join(told["differs"])


def test_the_verdict_says_whose_memory_it_is() -> None:
    for loss, rank, part in (("linear", 4, "the head"), ("fused_vocab", 1, "the embedding")):
        text = shown({**INTERLEAVED, "loss": loss})["verdict"]["text"]
        assert f"Of 4 ranks (interleaved 1F1B) number {rank} needs most" in text
        assert part in text
    assert "number" not in shown(COPIES)["verdict"]["text"]
