import json
from typing import get_args, get_type_hints

import pytest

from gpu_runner.cli.options import OPTIONS
from gpu_runner.config import bounds
from gpu_runner.config.load import KEYS, parse_general, resolve
from gpu_runner.config.schema import RANGES, TrainConfig
from gpu_runner.errors import UsageError


def test_a_configuration_survives_its_json() -> None:
    config = resolve({"model": "demo", "general": (("a", "b.jsonl"),)})
    assert TrainConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


def test_general_suites_are_read_from_pairs() -> None:
    assert parse_general(["a=x.jsonl", "b=y=z.jsonl"]) == (("a", "x.jsonl"), ("b", "y=z.jsonl"))
    assert parse_general(None) is None
    assert parse_general(["none"]) == ()
    with pytest.raises(UsageError, match="but other sets are given too: drop one"):
        parse_general(["none", "math=a.jsonl"])


@pytest.mark.parametrize("pairs", [["a"], ["=x"], ["a="], ["a/b=x"], ["a=x", "a=y"]])
def test_other_general_pairs_are_refused(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="--general"):
        parse_general(pairs)


def test_every_setting_has_a_help_and_every_number_its_bounds() -> None:
    settings, types = bounds.settings_of(TrainConfig), get_type_hints(TrainConfig)
    assert settings.keys() == types.keys() == set(KEYS)
    assert not [setting for setting in settings.values() if not setting.help]
    numbers = {name for name, kind in types.items() if {int, float} & {kind, *get_args(kind)}}
    assert RANGES.keys() == numbers
    for name, (low, high) in RANGES.items():
        default = TrainConfig.__dataclass_fields__[name].default
        assert default is None or low <= default <= high, name


def test_every_setting_is_an_option_under_a_heading() -> None:
    headed = {name for name, setting in bounds.settings_of(TrainConfig).items() if setting.group}
    assert OPTIONS.keys() == headed | {"config", "set"} == {*KEYS, "config", "set"}
