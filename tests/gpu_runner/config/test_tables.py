"""Settings by part of the model: in a file, behind --set, as options."""

import json
from pathlib import Path

import pytest

from gpu_runner.cli.options import config_from_options
from gpu_runner.config import load
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError

MODEL = {"model": "m", "data": "d.jsonl"}


def of_toml(text: str) -> object:
    return load.parse_toml(text.encode(), "run.toml")["rates"]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('[rates]\nembedding = 0.1\n"layers.0" = 2\n', (("embedding", 0.1), ("layers.0", 2.0))),
        ("rates = {norms = 3}", (("norms", 3.0),)),
        ("[rates]\nmodel.embed_tokens = 0.1\n", (("model.embed_tokens", 0.1),)),
        ("rates.head = 0.5\nrates.blocks = 0.25", (("head", 0.5), ("blocks", 0.25))),
    ],
)
def test_a_table_is_kept_in_its_order(text: str, pairs: object) -> None:
    assert of_toml(text) == pairs


def test_behind_set_a_pattern_stands_after_a_dot_and_the_last_one_counts(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('model = "m"\ndata = "d"\n[rates]\nembedding = 0.1\nhead = 0.2\n')
    given = ["rates.embedding=0.3", 'rates."layers.0"=0.5', "decays.q-proj=0"]
    config = config_from_options({"config": str(file), "set": given})
    assert config.rates == (("head", 0.2), ("embedding", 0.3), ("layers.0", 0.5))
    assert config.decays == (("q-proj", 0.0),)


def test_as_an_option_a_pattern_stands_before_an_equals_sign_and_wins_over_set() -> None:
    given = {"model": "m", "data": "d", "set": ["rates.head=0.2", "rates.embedding=0.1"]}
    config = config_from_options({**given, "rates": ["embedding=0.3", "layers.0=0.5"]})
    assert config.rates == (("head", 0.2), ("embedding", 0.3), ("layers.0", 0.5))


def test_a_table_survives_the_record_of_a_run() -> None:
    config = resolve({**MODEL, "rates": (("embedding", 0.1),), "decays": (("head", 0.0),)})
    text = json.dumps(config.as_json())
    assert TrainConfig.from_json(json.loads(text)) == config
    assert load.load_record(text.encode(), "its record") == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rates = 0.1", "rates must be a table of parts and numbers"),
        ('rates = "embedding=0.1"', "rates must be a table"),
        ('[rates]\nhead = "low"', "rates.head must be a number, not str"),
        ("[rates]\nhead = true", "rates.head must be a number, not bool"),
        ("[rates]\nhead = [1]", "rates.head must be a number, not list"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        of_toml(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"rates": (("head", 0.0),)}, "--rates head=0 would freeze these weights"),
        (
            {"rates": (("head", -1.0),)},
            "--rates head=-1 is out of bounds: give a number from 1e-06",
        ),
        ({"rates": (("head", 1e4),)}, "--rates head=10000 is out of bounds"),
        ({"rates": (("head", float("nan")),)}, "--rates head=nan is out of bounds"),
        ({"decays": (("head", float("inf")),)}, "--decays head=inf is out of bounds"),
        ({"decays": (("head", 0.5),), "weight_decay": 0.0}, "--decays has no effect"),
        ({"decays": (("head", 500.0),)}, "500 times --weight-decay 0.01 is more than 1"),
        ({"rates": (("", 1.0),)}, "'' cannot be a pattern"),
        ({"rates": (("x" * 201, 1.0),)}, "cannot be a pattern"),
        ({"rates": (("a\nb", 1.0),)}, "cannot be a pattern"),
        ({"rates": tuple((f"p{i}", 1.0) for i in range(65))}, "65 patterns: give at most 64"),
        (
            {"rates": (("head", 10.0),), "l2sp_pull": 1e4, "lr": 1e-4},
            "--l2sp-pull 10000 times --lr 0.0001 times 10 of --rates overshoots θ₀: give at most"
            " 1000",
        ),
    ],
)
def test_a_number_out_of_bounds_is_named_with_its_pattern(
    choices: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve({**MODEL, **choices})
    assert said in str(caught.value)


def test_a_whole_number_of_thousands_of_digits_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"--rates head=inf is out of bounds"):
        resolve({**MODEL, "rates": load.parse_assignments(["rates.head=" + "9" * 400])["rates"]})
