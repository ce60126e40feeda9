import json
from typing import get_args, get_type_hints

import pytest

from gpu_runner.config import bounds
from gpu_runner.config.file import KEYS, parse_general
from gpu_runner.config.options import OPTIONS, rarer
from gpu_runner.config.resolve import resolve
from gpu_runner.config.schema import RANGES, TrainConfig
from gpu_runner.errors import UsageError


def test_a_configuration_survives_its_json() -> None:
    config = resolve({"model": "demo", "general": (("a", "b.jsonl"),)})
    assert TrainConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


def test_general_suites_are_read_from_pairs() -> None:
    assert parse_general(["a=x.jsonl", "b=y=z.jsonl"]) == (("a", "x.jsonl"), ("b", "y=z.jsonl"))
    assert parse_general(None) is None
    assert parse_general(["none"]) == ()
    with pytest.raises(UsageError, match="others are given beside it: drop one"):
        parse_general(["none", "math=a.jsonl"])


@pytest.mark.parametrize("pairs", [["a"], ["=x"], ["a="], ["a/b=x"], ["a=x", "a=y"]])
def test_other_general_pairs_are_refused(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="--general"):
        parse_general(pairs)


def test_every_choice_says_what_it_is_and_every_number_its_bounds() -> None:
    told, types = bounds.told(TrainConfig), get_type_hints(TrainConfig)
    assert told.keys() == types.keys() == set(KEYS)
    assert all(about.help for about in told.values())
    numbers = {name for name, kind in types.items() if {int, float} & {kind, *get_args(kind)}}
    assert RANGES.keys() == numbers
    for name, (low, high) in RANGES.items():
        default = TrainConfig.__dataclass_fields__[name].default
        assert default is None or low <= default <= high, name


def test_options_are_the_choices_that_stand_under_a_heading() -> None:
    headed = {name for name, about in bounds.told(TrainConfig).items() if about.group}
    assert OPTIONS.keys() == headed | {"config", "set"}
    assert not set(rarer()) & headed
