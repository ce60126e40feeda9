"""The recorded runs as the prose quotes them."""

import json
from pathlib import Path

import pytest

from site_builder.measurements import answer_of, losses, read_events, steps

RECORDINGS = Path(__file__).parents[2] / "web" / "recordings"
NAMES = [entry["id"] for entry in json.loads((RECORDINGS / "index.json").read_text())]


@pytest.mark.parametrize("name", NAMES)
def test_every_recording_learns_its_task(name: str) -> None:
    before, after = losses(name, "task")
    assert after < 0.7 * before
    assert steps(name) == max(event["step"] for event in read_events(name))


def test_one_forgets_one_keeps_and_one_gains() -> None:
    assert losses("demo", "general")[1] > 4 * losses("demo", "general")[0]
    assert losses("demo-careful", "general")[1] < 1.1 * losses("demo-careful", "general")[0]
    assert losses("smollm2", "general")[1] < losses("smollm2", "general")[0]


def test_an_answer_is_that_of_its_prompt_and_its_time() -> None:
    prompt = "Write 859 with dashes:"
    assert answer_of("demo", prompt, "after") == "8-5-9"
    assert answer_of("demo", prompt, "before") != answer_of("demo", prompt, "after")
    with pytest.raises(StopIteration):
        answer_of("demo", "Who are you?", "after")
