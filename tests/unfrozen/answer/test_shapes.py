"""Every JSON answer fits the schema that is published of it; so do jobs, and bad ones do not."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from unfrozen.__main__ import main
from unfrozen.answer.shapes import SHAPES, schemas
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.schema.check import check

SCHEMAS = schemas()
PLANS = [
    ("plan", ["--model", "Llama-3.1-8B"]),
    (
        "plan",
        ["--model", "Llama-3.1-8B", "--gpu", "H100", "--tokens", "1B", "--explain", "--all-gpus"],
    ),
    (
        "plan",
        [
            "--model",
            "Llama-3.1-8B",
            "--gpu",
            "8xH100",
            "--compare",
            "zero2,zero3",
            "--solve",
            "gpus",
        ],
    ),
    ("plan", ["--model", "Mixtral-8x7B", "--gpu", "T4", "--recipe", '{"method": "qlora"}']),
    ("plan", ["--model", "Llama-3.1-8B", "--cluster", '{"gpus": 8, "pipeline_parallel": 4}']),
    ("plan", ["--model", "unsloth/Qwen3-8B-bnb-4bit"]),
    ("project", ["--model", "unsloth/Qwen3-8B-bnb-4bit", "--gpus", "8xH100"]),
    ("project", ["--model", "Qwen2.5-7B", "--data", "10,000 x 3 x 512", "--gpus", "8xH100"]),
    ("project", ["--model", "Qwen2.5-7B", "--gpus", "1xT4"]),
]


def fits(name: str, value: Any) -> None:
    Draft202012Validator(SCHEMAS[name]).validate(value)
    checked = check(SHAPES[name], value)
    assert not checked.problem
    assert checked.unknown == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one_and_has_its_version(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"] == f"urn:unfrozen:{name}:1"


@pytest.mark.parametrize(("name", "asked"), PLANS)
def test_an_answer_fits_its_schema_and_so_does_its_job(
    name: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    fits(name, found)
    fits("job", found["job"])


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"micro_batch": 0}},
        {"recipe": {"attention": "slow"}},
        {"recipe": {"lora": {"rank": "16"}}},
        {"cluster": {"gpus": 1.5}},
        {"clusters": {}},
    ],
    ids=str,
)
def test_what_the_planner_refuses_the_schema_refuses(changes: dict[str, Any]) -> None:
    job = {"model": "Llama-3.1-8B", **changes}
    with pytest.raises(PlanError):
        Job.read(job)
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMAS["job"]).validate(job)


def test_sizes_prices_and_times_say_their_unit() -> None:
    plan = SCHEMAS["plan"]["properties"]
    assert plan["device_gib"]["unit"] == "GiB"
    rent = plan["rent"]["anyOf"][0]["properties"]
    assert rent["timeout_seconds"]["unit"] == "seconds"
    flavor = rent["flavors"]["items"]["properties"]
    assert [flavor[key]["unit"] for key in ("usd_per_hour", "usd")] == ["USD/hour", "USD"]


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMAS
