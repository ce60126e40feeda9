"""Files of trainers that a reader opens in the page: planned as the terminal plans them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from unfrozen.frameworks.reading import read_job
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.step_time import step_time
from unfrozen.planner.state import read_job as job_of
from unfrozen.project.page import open_files

from ..frameworks.test_headers import CONFIG, gguf
from ..frameworks.test_reading import AXOLOTL, EXAMPLES, axolotl, nested, rewritten

GPU = {"gpu": "H100 SXM"}


def opened(*files: tuple[str, str | bytes], **state: str) -> dict[str, Any]:
    """What the page gets for files of these names and contents."""
    asked = [
        {"name": name, "text": content}
        if isinstance(content, str)
        else {"name": name, "bytes": base64.b64encode(content).decode()}
        for name, content in files
    ]
    return open_files({"files": asked, "state": state})


KNOWN = [one for one in EXAMPLES if one["job"].get("model") in CATALOGUE]


@pytest.mark.parametrize("example", KNOWN, ids=lambda one: f"{one['repo']} {one['path']}")
def test_the_page_plans_the_job_that_the_terminal_reads(example: dict[str, Any]) -> None:
    beside = {name: json.dumps(nested(keys)) for name, keys in example.get("beside", {}).items()}
    text, name = rewritten(example)
    found = opened(*beside.items(), (name, text), **GPU)
    assert found["problem"] == ""
    shown = job_of(found["state"])
    asked = Job.read(read_job(name, text, beside.get).job | GPU)
    assert plan_job(shown).device_bytes == plan_job(asked).device_bytes
    assert step_time(shown) == step_time(asked)
    alike = [
        replace(one, recipe=replace(one.recipe, reduce=None), framework=None)
        for one in (shown, asked)
    ]
    assert alike[0] == alike[1]  # a state cannot say that gradients are reduced as they are


def test_what_a_file_does_not_say_stays_as_it_is_on_the_page() -> None:
    text = "sequence_len: 4096\nmicro_batch_size: 1\nsome_key: 3\n"
    found = opened(("a.yml", text), **GPU, model="Qwen/Qwen3-8B", tokens="9", gpus="4")
    own = {key: found["state"].get(key) for key in ("gpu", "model", "tokens", "gpus", "seq_len")}
    assert own == {**GPU, "model": "Qwen/Qwen3-8B", "tokens": "9", "gpus": None, "seq_len": "4096"}
    for words in ("Read as Axolotl: sequence_len", "some_key", "One GPU is planned"):
        assert words in found["text"]
    config = opened(("config.json", json.dumps(CONFIG)), **GPU, gpus="4", seq_len="512")["state"]
    assert (json.loads(config.pop("config")), config) == (
        CONFIG,
        {**GPU, "gpus": "4", "seq_len": "512"},
    )
    weights = opened(("a.gguf", gguf()), gpus="4")["state"]
    assert json.loads(weights["config"])["hidden_size"] == CONFIG["hidden_size"]
    job = {"model": "Qwen/Qwen3-8B", "recipe": {"seq_len": 512}}
    assert job_of(opened(("job.json", json.dumps(job)), **GPU)["state"]) == Job.read(job | GPU)


def test_a_model_of_no_list_can_be_asked_for() -> None:
    assert opened(("a.yml", axolotl(base_model="a/b")))["state"]["model"] == "a/b"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.yml",
            axolotl(cutoff_len=4),
            "cutoff_len of LLaMA-Factory; keep the keys of one trainer",
        ),
        ("a.yml", "x" * 1_000_001, "a.yml: a trainer's file has at most 1,000,000 characters"),
        ("a.yml", axolotl(deepspeed="ds.json"), "no such file is beside"),
        ("a.gguf", gguf()[:90], "download the whole file again"),
        ("a.safetensors", b"abc", "ends within its header, after 3 bytes"),
        ("a.json", json.dumps([AXOLOTL]), "it holds several jobs"),
        ("a.yml", "not a key in it", "neither a trainer's settings nor a job"),
        ("a.yml", "", "neither a trainer's settings nor a job"),
        ("", "hello", "this text: it holds neither"),
    ],
)
def test_what_cannot_be_opened_says_why(name: str, content: str | bytes, words: str) -> None:
    found = opened((name, content))
    assert found["state"] is None
    assert words in found["problem"]
