"""Choices from a TOML file and from --set: names, types, and which of them wins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpu_runner.cli.options import config_from_options
from gpu_runner.config.load import load_record, parse_assignments, read_toml
from gpu_runner.errors import UsageError

RUN = """
model = "demo"
[data]
data = "demo"
general = { sums = "sums.jsonl" }
[optimizer]
lr = 1e-3
steps = 7
sample_prompts = ["a", "b"]
"""


def written(directory: Path, text: str) -> str:
    path = directory / "run.toml"
    path.write_text(text, "utf-8")
    return str(path)


def test_tables_only_group_what_they_hold(tmp_path: Path) -> None:
    assert read_toml(written(tmp_path, RUN)) == {
        "model": "demo",
        "data": "demo",
        "general": (("sums", "sums.jsonl"),),
        "lr": 1e-3,
        "steps": 7,
        "sample_prompts": ("a", "b"),
    }


def test_an_assignment_is_read_as_toml_and_as_text_where_it_is_none() -> None:
    found = parse_assignments(["lr=1", "micro-batch=8", "data=rows.jsonl", 'out="a b"'])
    assert found == {"lr": 1.0, "micro_batch": 8, "data": "rows.jsonl", "out": "a b"}


@pytest.mark.parametrize(
    ("typed", "text", "found"),
    [(None, "", False), (None, "compile = true", True), (False, "compile = true", False)],
)
def test_nothing_is_compiled_unless_it_is_asked_for(
    tmp_path: Path, typed: bool | None, text: str, found: bool
) -> None:
    config = config_from_options({"config": written(tmp_path, RUN + text), "compile": typed})
    assert config.compile is found
    record = json.dumps(config.as_json()).encode()
    assert load_record(record, "a record").compile is found


def test_a_record_of_an_earlier_version_that_leaves_compiling_open_compiles_nothing() -> None:
    settings = config_from_options({"model": "demo"}).as_json()
    record = json.dumps(settings | {"compile": None}).encode()
    assert load_record(record, "a record").compile is False


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    assert read_toml(written(tmp_path, "\ufeffsteps = 7\r\n")) == {"steps": 7}


def test_general_sets_are_given_as_a_table_a_list_or_none(tmp_path: Path) -> None:
    pairs = (("a", "x.jsonl"), ("b", "y.jsonl"))
    for text in ('[general]\na = "x.jsonl"\nb = "y.jsonl"', 'general = ["a=x.jsonl", "b=y.jsonl"]'):
        assert read_toml(written(tmp_path, text)) == {"general": pairs}
    for text in ('general = "none"', 'general = ["none"]', "general = []"):
        assert read_toml(written(tmp_path, text)) == {"general": ()}
    assert parse_assignments(["general=none"]) == {"general": ()}
    assert parse_assignments(["general=a=x.jsonl"]) == {"general": (("a", "x.jsonl"),)}


def test_an_assignment_is_one() -> None:
    assert parse_assignments(["data=1\nsteps=2"]) == {"data": "1\nsteps=2"}


def test_what_is_given_later_wins(tmp_path: Path) -> None:
    options = {"config": written(tmp_path, RUN), "set": ["lr=2e-3", "steps=8"], "steps": 9}
    config = config_from_options(options | {"general": ["none"]})
    assert (config.model, config.lr, config.steps, config.general) == ("demo", 2e-3, 9, ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr = ", "is not TOML"),
        ("learning_rate = 1e-5", "learning_rate is not a setting of a run; did you mean lr?"),
        ("zzzz = 1", "zzzz is not a setting of a run; settings are model, data, eval_data"),
        ('"" = 1', "an empty name is not a setting of a run"),
        ("[general]\nsums = 5", "general is {'sums': 5}; it must be a table of files"),
        ("general = [5]", "general is [5]; it must be a table of files"),
        ('general = "sums"', "'sums' is not NAME=FILE"),
        ("lr = 1e-5\n[a]\nlr = 1e-5", "lr occurs twice"),
        ('steps = "ten"', "steps is 'ten'; it must be a whole number"),
        ("steps = true", "it must be a whole number"),
        ('schedule = "linera"', "it must be one of"),
        ("[model]\ntrust_remote_code = true", "type --trust-remote-code"),
        ("sample_prompts = [1]", "it must be a list of texts"),
    ],
)
def test_a_bad_file_names_the_key_and_what_it_must_be(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match="--config") as caught:
        read_toml(written(tmp_path, text))
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"no/such\.toml: it cannot be read"):
        read_toml("no/such.toml")


@pytest.mark.parametrize(
    ("pair", "says"),
    [("lr", "is not key=value"), ("lrr=1", "did you mean lr"), ("steps=1.5", "a whole number")],
)
def test_a_bad_assignment_is_refused(pair: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_assignments([pair])
