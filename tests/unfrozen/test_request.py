"""Planning from a program: one call, its answer as data, as text and as a picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import unfrozen
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.memory.points import Point
from unfrozen.plan import plan as plan_of

SMALL = "Qwen/Qwen3-0.6B"


def test_a_program_plans_with_one_call() -> None:
    found = unfrozen.plan(model=SMALL, gpu="RTX 4090", recipe={"micro_batch": 1})
    by_hand = plan_of({"model": SMALL, "gpu": "RTX 4090", "recipe": {"micro_batch": 1}})
    assert (found.fits, found.verdict) == (by_hand.fits, by_hand.verdict) == (True, "fits")
    assert found.to_dict()["device_gib"] * 2**30 == by_hand.device_bytes
    assert "RTX 4090" in str(found)


def test_data_and_gpus_ask_for_one_plan_as_in_the_terminal(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    for data in (str(rows), "1 x 1 x 8"):
        found = unfrozen.plan(model=SMALL, gpus="2x RTX 4090", data=data)
        assert found.fits
        assert found.to_dict()["plan"]["command"]


def test_the_text_of_a_file_is_planned_as_the_file_is(tmp_path: Path) -> None:
    text = "base_model: Qwen/Qwen3-0.6B\nmicro_batch_size: 2\nsequence_len: 1024\n"
    file = tmp_path / "axolotl.yml"
    file.write_text(text)
    read = unfrozen.plan(str(file), gpu="RTX 4090").to_dict()
    assert unfrozen.plan(text=text, gpu="RTX 4090").to_dict() == read
    assert unfrozen.plan("axolotl.yml", text=text, gpu="RTX 4090").to_dict() == read
    assert read["read"]["format"] == "axolotl"


def test_a_text_names_no_file_of_this_machine(tmp_path: Path) -> None:
    beside = tmp_path / "ds.json"
    beside.write_text('{"zero_optimization": {"stage": 3}}')
    text = f"model_name_or_path: {SMALL}\nstage: sft\nfinetuning_type: full\ndeepspeed: {beside}\n"
    with pytest.raises(PlanError, match="deepspeed"):
        unfrozen.plan(text=text)
    with pytest.raises(PlanError, match="two jobs"):
        unfrozen.plan({"model": SMALL}, text=text)


JOBS: list[dict[str, Any]] = [
    {"model": SMALL, "gpu": "T4"},
    {"model": SMALL, "gpu": {"nominal_gb": 16, "bandwidth_gb_s": 500, "bf16_tflops": 60}},
    {"model": SMALL, "recipe": {"method": "qlora", "lora": {"rank": 8}}, "framework": "trl"},
    {"model": SMALL, "cluster": {"gpus": 8, "sharding": "zero3"}, "framework": "torchtitan"},
    {"model": "Qwen/Qwen3-30B-A3B", "cluster": {"gpus": 64, "expert_parallel": 8}},
]


@pytest.mark.parametrize("given", JOBS, ids=json.dumps)
def test_the_job_of_an_answer_is_the_whole_job_and_plans_the_same(given: dict[str, Any]) -> None:
    whole = json.loads(json.dumps(unfrozen.plan(given).to_dict()["job"]))
    again, first = Job.read(whole), Job.read(given)
    assert (again.recipe, again.cluster, again.gpu) == (first.recipe, first.cluster, first.gpu)
    assert plan_of(whole).instants == plan_of(given).instants


def widths(picture: ElementTree.Element) -> list[float]:
    return [float(bar.get("width", "")) for bar in picture.iter("rect")]


def test_its_picture_is_drawn_to_scale_and_needs_no_other_file() -> None:
    found = unfrozen.plan(model=SMALL, gpu="RTX 4090")
    html = found._repr_html_()
    assert not {"<script", "<link", "src=", "url("} & {word for word in html.split() if word}
    picture = ElementTree.fromstring(html)
    planned = plan_of({"model": SMALL, "gpu": "RTX 4090"})
    parts: Point = planned.instants[planned.peak_instant]
    drawn = widths(picture)
    assert sum(drawn) / drawn[0] == pytest.approx(planned.device_bytes / parts["params"], 0.01)
    ends = [path.get("d", "") for path in picture.iter("path")]
    low, high = (float(number) for number in re.findall(r"[MH](\d+\.\d)", ends[0]))
    assert low < sum(drawn) < high
    assert high / low == pytest.approx(planned.band_gib[1] / planned.band_gib[0], 0.01)


def test_a_project_has_the_picture_of_its_plan_and_its_text() -> None:
    html = unfrozen.plan(model=SMALL, gpus="1x RTX 4090", data="10 x 1 x 64")._repr_html_()
    assert html.count("<svg") == 1
    assert "unfrozen train" in html


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"modle": SMALL}, "modle"),
        ({}, "job"),
        ({"model": SMALL, "recipe": {"seq": 1}}, "recipe.seq"),
        ({"model": SMALL, "data": "1 x 1 x 8"}, "gpus"),
        ({"job": [{"model": SMALL}]}, "job"),
        ({"job": "x" * 10_000}, "file"),
        ({"model": "x" * 300}, "file"),
        ({"model": SMALL, "data": "x" * 300, "gpus": "T4"}, "file"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name(options: dict[str, Any], key: str) -> None:
    with pytest.raises(PlanError) as caught:
        unfrozen.plan(**options)
    assert caught.value.key == key
    assert caught.value.remedy


def test_where_no_model_is_named_those_that_fit_are_ranked(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a" * 400, "completion": "b"}) + "\n")
    found = unfrozen.plan(gpus="RTX 4090", data=str(rows))
    choices = found.to_dict()["choices"]
    assert choices[0]["model"] == "Qwen/Qwen3-8B"
    assert choices[-1]["recipe"]["method"] == "qlora"
    assert "add --model NAME" in str(found)
    assert "On 2 × RTX 4090 these fit:" in str(unfrozen.plan(gpus="2x4090"))
    alone = unfrozen.plan(model="Qwen/Qwen3-8B", gpus="RTX 4090", data=str(rows)).to_dict()
    assert choices[0] == {"model": "Qwen/Qwen3-8B", **alone["plan"]} | {
        key: choices[0][key] for key in ("command", "host", "needs") if key in choices[0]
    }
    with pytest.raises(PlanError):
        unfrozen.plan(gpus="RTX 3070", budget=3)


def test_the_gpus_of_a_trainers_file_are_those_that_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "axolotl.yml"
    file.write_text("base_model: Qwen/Qwen3-8B\nsequence_len: 4096\ndeepspeed: zero3.json\n")
    found = unfrozen.plan(str(file), gpus="8xH100").to_dict()["job"]
    assert (found["cluster"]["gpus"], found["cluster"]["sharding"]) == (8, "zero3")
    assert found["gpu"] == "H100 SXM"
    assert unfrozen.plan(str(file), gpu="H100", gpus=4).to_dict()["job"]["cluster"]["gpus"] == 4
