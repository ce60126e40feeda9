"""Bad input, from the file to the one line a person reads: key, value, bound and remedy."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from unfrozen.__main__ import main
from unfrozen.model.catalogue import CATALOGUE

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config
NESTED = '{"model": ' + "[" * 100_000 + "]" * 100_000 + "}"
DEEP_KEY = json.dumps({"model": LLAMA, "recipe": {"lora": None}}).replace(
    '"lora": null', '"lora": ' + "[" * 500 + "]" * 500
)


def with_model(**change: Any) -> dict[str, Any]:
    return {"model": LLAMA | change}


def with_recipe(**recipe: Any) -> dict[str, Any]:
    return {"model": LLAMA, "recipe": recipe}


def with_cluster(**cluster: Any) -> dict[str, Any]:
    return {"model": LLAMA, "cluster": cluster}


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (with_recipe(batch_size=4), "recipe.batch_size: got 4; known keys are"),
        ({"model": LLAMA, "gpus": 8}, "gpus: got 8; known keys are model, recipe, cluster, gpu"),
        (with_recipe(seq_len="long"), "recipe.seq_len: got 'long'; it must be a whole number"),
        (with_recipe(micro_batch=2.5), "recipe.micro_batch: got 2.5; it must be a whole number"),
        (with_recipe(seq_len=-1), "recipe.seq_len: got -1"),
        (with_recipe(seq_len=1e30), "recipe.seq_len: got 1e+30"),
        (with_recipe(micro_batch=10**30), "recipe.micro_batch: got 1000"),
        (with_model(hidden_size=1e30), "model.hidden_size: got 1e+30"),
        (with_model(hidden_size=-2048), "model.hidden_size: got -2048; it must be a whole number"),
        (with_model(num_hidden_layers=10**6), "model.num_hidden_layers: got 1000000"),
        (with_model(vocab_size=0), "model.vocab_size: got 0"),
        (with_model(num_key_value_heads=7), "model.num_key_value_heads: got 7; it must divide"),
        (with_model(num_attention_heads=31), "it must divide"),
        (with_model(padding=["x" * 10] * 500_000), "smaller than 4,000,000 bytes"),
        (
            {"model": {"model_type": "rwkv7"}},
            "model.model_type: got 'rwkv7'; this architecture can",
        ),
        (with_model(model_type=None), "model.model_type: got 'nothing'"),
        (
            with_recipe(params="bf16") | {"gpu": "T4"},
            "recipe.params: got 'bf16'; the T4 has no bf16",
        ),
        ({"model": LLAMA, "gpu": "V100 SXM 32GB", "recipe": {"params": "fp32"}}, "has no bf16"),
        (with_cluster(gpus=64, tensor_parallel=64), "cluster.tensor_parallel: got 64"),
        (with_cluster(gpus=0), "cluster.gpus: got 0"),
        (with_cluster(gpus=10**30), "cluster.gpus: got 1000"),
        (with_cluster(sharding="zero4"), "cluster.sharding: got 'zero4'; it must be one of"),
        (with_recipe(method="lora", lora={"rank": 0}), "recipe.lora.rank: got 0"),
        (with_recipe(method="lora", lora={"targets": ["x"]}), "recipe.lora.targets: got 'x'"),
        ('{"model": NaN}', "NaN is not JSON"),
        ('{"model": {}, "recipe": {"seq_len": -Infinity}}', "-Infinity is not JSON"),
        (NESTED, "nested too deeply"),
        (DEEP_KEY, "nested too deeply"),
        ("[1, 2]", "job 1 of 2, job: got 1; it must be an object"),
        ("\x00", "it holds neither a trainer's settings nor a job"),
        ('{"model": {"model_type": "\\ud800"}}', "model.model_type: got '\\ud800'"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "job",
)
def test_bad_input_is_one_line_that_says_what_to_do(
    job: object, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = job if isinstance(job, str) else json.dumps(job)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["plan", "-", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("unfrozen: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 1000
    assert says in captured.err
