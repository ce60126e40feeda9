"""What an address carries: read, or refused in a sentence that the planner can show."""

import json
import random
from typing import Any

import pytest

from conftest import matrix
from security.damage import HOSTILE
from unfrozen import ask
from unfrozen.errors import PlanError
from unfrozen.planner.state import KEYS
from unfrozen.schema.address import readable, settings

QUERIES = [
    "a=b&" * 101,
    "&" * 5000,
    "model=" + "x" * 1_000_001,
    "<img src=x onerror=alert(1)>",
    '"]),script[x="',
    "model=%ED%A0%80&gpus=%00",
    "%",
    "=",
    "gpus=" + "9" * 5000,
    "price=1e999",
    "config=" + "%7B" * 30_000,
    "config=" + "%5B" * 30_000,
    "__proto__=1&constructor=2",
]


def asked(name: str, value: object) -> Any:
    return json.loads(ask.answer(name, json.dumps(value)))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:20])
@pytest.mark.parametrize("name", ["planner.glance", "decision.decide"])
def test_an_address_that_cannot_be_read_opens_with_its_reason(name: str, query: str) -> None:
    found = asked(name, query)
    assert found["problem"]["text"].endswith(".")
    assert len(json.dumps(found["problem"])) < 2000


@pytest.mark.parametrize(
    "name",
    matrix(
        ["planner.glance", "planner.ways", "decision.decide", "decision.reversals"],
        "planner.glance",
        "decision.decide",
    ),
)
def test_whatever_a_state_is_it_is_answered(name: str) -> None:
    random_ = random.Random(7)
    for _ in range(150):
        keys = random_.choices(KEYS, k=2)
        asked(name, {key: random_.choice(HOSTILE) for key in keys})
    for value in HOSTILE:
        asked(name, value)


def test_too_many_too_long_and_half_characters_are_told_with_their_bound() -> None:
    for given, said in (
        ("a=b&" * 100, "it carries 101 settings; at most 100 are read"),
        ({"model": "x" * 501}, "501 characters'; it is longer than 500 characters"),
        ({"model": "\ud800"}, "it holds half a character"),
        (["model"], "it must be settings by their names"),
    ):
        with pytest.raises(PlanError, match=said):
            settings(given)
    assert settings({"config": "x" * 900}, {"config": 1000}) == {"config": "x" * 900}


def test_of_a_state_that_cannot_be_read_the_rest_is_kept() -> None:
    assert readable({"gpus": "8", "model": "\ud800", "gpu": "x" * 600}) == {"gpus": "8"}
    assert readable("gpus=8") == {}


@pytest.mark.parametrize(
    "config",
    [
        "[" * 90_000,
        '{"a":' * 15_000,
        json.dumps({f"k{n}": n for n in range(8000)}),
        json.dumps({f"k{n}": n for n in range(100_000)}),
        '{"model_type": "llama", "hidden_size": 1e400}',
        '{"model_type": {"__proto__": []}}',
        '{"model_type": "<img src=x>"}',
        "\ud800",
    ],
    ids=lambda config: config[:20],
)
def test_a_config_that_is_none_is_a_sentence(config: str) -> None:
    assert asked("planner.glance", {"config": config})["problem"]["text"].endswith(".")
