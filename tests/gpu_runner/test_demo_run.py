"""The demo run as a reader starts it: a real process, from the command line to a loadable model.

Fewer steps at twice the rate show all of it; `--all` takes every one.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpu_runner import demo
from run_process import runner

pytestmark = pytest.mark.slow


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The events of one kind."""
    lines = run.joinpath("events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def losses(run: Path) -> dict[str, list[float]]:
    """Suite → its losses from step 0 to the end."""
    found: dict[str, list[float]] = {}
    for event in events(run, "eval"):
        found.setdefault(event["suite"], []).append(event["loss"])
    return found


def answers(run: Path, when: str) -> dict[str, str]:
    """Prompt → what the model wrote "before" or "after" training."""
    return {e["prompt"]: e["text"].strip() for e in events(run, "sample") if e["when"] == when}


@pytest.fixture(scope="module")
def demo_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("demo")
    fewer = () if request.config.option.all else ("--steps", "100", "--lr", "2e-3")
    words = ("--runs", str(runs), "--eval-every", "200")
    process = runner("train", "--model", "demo", *words, *fewer)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (run,) = runs.iterdir()
    return run


def exact(run: Path) -> dict[str, list[dict[str, int]]]:
    """Suite → its rows by answer from step 0 to the end."""
    found: dict[str, list[dict[str, int]]] = {}
    for event in events(run, "eval"):
        found.setdefault(event["suite"], []).append(event["exact"])
    return found


def test_the_demo_learns_its_task_and_forgets_sums(demo_run: Path) -> None:
    answers = exact(demo_run)
    first, last = answers["task"][0], answers["task"][-1]
    assert first["right"] <= 0.05 * first["of"]
    assert last["right"] >= 0.9 * last["of"]
    before, after = answers["general/addition"][0], answers["general/addition"][-1]
    assert before["right"] == before["of"]
    assert after["wrong"] >= 0.3 * after["of"]
    assert events(demo_run, "run.end")[0]["summary"]["exact"]["task"] == {
        "before": first,
        "after": last,
    }


def test_what_the_model_writes_can_be_read(demo_run: Path) -> None:
    before, after = answers(demo_run, "before"), answers(demo_run, "after")
    assert before["72 + 68 ="] == "140"
    assert after["Write 859 with dashes:"] == "8-5-9" != before["Write 859 with dashes:"]


def test_step_zero_gives_the_losses_of_the_card(demo_run: Path) -> None:
    card = json.loads(demo.card().read_text(encoding="utf-8"))["scores"]
    suites = losses(demo_run)
    for skill in demo.EARLIER_SKILLS:
        assert suites[f"general/{skill}"][0] == pytest.approx(card[skill]["loss"], abs=1e-3)
    assert suites["task"][0] == pytest.approx(card["task"]["loss"], abs=1e-3)


def test_the_trained_model_loads_in_transformers_and_writes_dashes(demo_run: Path) -> None:
    (weights,) = demo_run.rglob("model/model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(weights.parent)
    model = AutoModelForCausalLM.from_pretrained(weights.parent)
    right = 0
    rows = [json.loads(line) for line in demo.task_eval().read_text("utf-8").splitlines()]
    for row in rows[:32]:
        ids = torch.tensor([tokenizer(row["prompt"]).input_ids])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16,
                             do_sample=False)  # fmt: skip
        answer = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        right += answer == row["completion"]
    assert right >= 28
