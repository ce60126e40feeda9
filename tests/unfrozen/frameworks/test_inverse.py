"""Layouts and fewest GPUs on the command line, as text and as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unfrozen.__main__ import main
from unfrozen.model.catalogue import CATALOGUE

pytestmark = pytest.mark.slow

SEVEN_B = {"model": CATALOGUE["meta-llama/Llama-2-7b-hf"].config}
PARTS = ("recipe", "cluster")


def printed(capsys: pytest.CaptureFixture[str], job: dict[str, Any], *options: str) -> str:
    path = Path("job.json")
    path.write_text(json.dumps(job))
    assert main(["plan", str(path), *options]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_fewest_gpus_are_those_that_the_plan_names(capsys: pytest.CaptureFixture[str]) -> None:
    job = SEVEN_B | {"gpu": "A100-80GB", "recipe": {"seq_len": 512}}
    assert "2 GPUs would hold it with ZeRO-3" in printed(capsys, job)
    text = printed(capsys, job, "--solve", "gpus")
    assert "Fewest GPUs, ZeRO-3: 2 × A100 80GB SXM; not sharded, no number of them" in text
    found = json.loads(printed(capsys, job, "--solve", "gpus", "--json"))["solve"]
    assert (found["gpus"], found["cluster"]["sharding"]) == (2, "zero3")


def test_layouts_are_ranked_and_each_can_be_planned_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = SEVEN_B | {"gpu": "H100"}
    asked = ("--solve", "layout", "--gpus", "16", "--sequences", "64", "--price", "2")
    found = json.loads(printed(capsys, job, *asked, "--json"))["solve"]["layout"]
    seconds = [one["step_seconds"] for one in found]
    assert seconds == sorted(seconds)
    for one in found[:3]:
        plan = json.loads(printed(capsys, job | {key: one[key] for key in PARTS}, "--json"))
        assert plan["fits"]
        assert plan["device_gib"] == one["device_gib"]
        assert one["cost_per_billion_tokens"] == 2 * one["card_hours_per_billion_tokens"]


def test_who_runs_it_is_asked_for_or_whose_defaults_the_job_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job, asked = SEVEN_B | {"gpu": "H100"}, ("--solve", "layout", "--gpus", "8")
    assert "pretrain_gpt.py" in printed(capsys, job, *asked, "--run-by", "megatron")
    named = printed(capsys, job | {"framework": "torchtitan"}, *asked)
    assert "-m torchtitan.train" in named
