"""Fewest GPUs on the command line, as text and as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unfrozen.__main__ import main
from unfrozen.model.catalogue import CATALOGUE

pytestmark = pytest.mark.slow

SEVEN_B = {"model": CATALOGUE["meta-llama/Llama-2-7b-hf"].config}


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
    assert "Fewest GPUs: 2 × A100 80GB SXM (" in text
    found = json.loads(printed(capsys, job, "--solve", "gpus", "--json"))["solve"]
    assert (found["gpus"], found["recipe"]["checkpointing"]) == (2, "none")
    again = job | {"cluster": found["cluster"]}
    assert json.loads(printed(capsys, again, "--json"))["fits"]
