"""Jobs: what they need, and which GPU lacks which precision."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.job.recipe import Recipe
from unfrozen.model.catalogue import CATALOGUE

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config


def test_a_model_is_all_a_job_needs() -> None:
    job = Job.read({"model": LLAMA})
    assert job.recipe == Recipe()
    assert job.cluster.gpus == 1
    assert job.gpu is None
    assert Job.read({"model": LLAMA, "recipe": None, "cluster": None, "gpu": None}) == job


@pytest.mark.parametrize(
    ("given", "key", "says"),
    [
        ("llama", "job", "object"),
        ({}, "model", "needs a model"),
        ({"model": LLAMA, "gpus": 2}, "gpus", "model, recipe, cluster, gpu"),
        ({"model": LLAMA, 3: 2}, "3", "known keys"),
        ({"model": "llama"}, "model", "config.json"),
        ({"model": {"model_type": "llama"}}, "model.hidden_size", "add this key"),
        ({"model": LLAMA | {"vocab_size": 0}}, "model.vocab_size", "1 … 10,000,000"),
        ({"model": LLAMA, "gpu": 80}, "gpu", "name of a GPU"),
        ({"model": LLAMA, "gpu": "ZX81"}, "gpu", "or name one of the table, such as RTX 3090"),
        (
            {"model": LLAMA, "gpu": "T4", "recipe": {"params": "bf16"}},
            "recipe.params",
            "T4 has no bf16",
        ),
        (
            {"model": LLAMA, "gpu": "T4", "recipe": {"attention": "flash"}},
            "recipe.attention",
            "T4 has no FlashAttention",
        ),
        (
            {"model": LLAMA, "gpu": "V100 SXM 32GB", "recipe": {"params": "fp32"}},
            "recipe.compute",
            "use fp16 or fp32",
        ),
        ({"model": LLAMA, "recipe": {"seq": 3}}, "recipe.seq", "seq_len"),
        ({"model": LLAMA, "recipe": 3}, "recipe", "object"),
        (
            {
                "model": LLAMA,
                "recipe": {"seq_len": 1},
                "cluster": {"gpus": 2, "context_parallel": 2},
            },
            "cluster.context_parallel",
            "no token for each",
        ),
        (
            {"model": LLAMA, "gpu": "A100-80GB", "recipe": {"compute": "fp8"}},
            "recipe.compute",
            "has no fp8",
        ),
    ],
)
def test_a_job_that_makes_no_sense_is_one_clear_error(given: Any, key: str, says: str) -> None:
    with pytest.raises(PlanError) as caught:
        Job.read(given)
    assert caught.value.key == key
    assert says in str(caught.value)


def test_a_config_of_five_megabytes_is_refused_by_its_size() -> None:
    with pytest.raises(PlanError, match="smaller than 4,000,000 bytes"):
        Job.read({"model": LLAMA | {"vocab": ["token"] * 1_000_000}})


def test_a_config_that_was_read_before_is_read_again_only_if_a_type_differs() -> None:
    assert Job.read({"model": LLAMA}).model is Job.read({"model": dict(LLAMA)}).model
    with pytest.raises(PlanError, match=r"vocab_size: got 128256\.0"):
        Job.read({"model": LLAMA | {"vocab_size": 128256.0}})


def test_a_config_with_odd_values_beside_is_a_model_all_the_same() -> None:
    nested: list[Any] = []
    for _ in range(3000):
        nested = [nested]
    for odd in (nested, object(), float("nan"), {1: 2}):
        assert Job.read({"model": LLAMA | {"odd": odd}}).model == Job.read({"model": LLAMA}).model


def test_a_value_nested_without_end_is_refused_in_one_line() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(PlanError, match="too large to show"):
        Job.read({"model": LLAMA, "recipe": nested})


def test_a_job_moves_to_another_gpu_that_has_its_precision() -> None:
    job = Job.read({"model": LLAMA})
    assert job.on(find("H100")).gpu == find("H100")
    with pytest.raises(PlanError, match="T4 has no bf16"):
        job.on(find("T4"))


@pytest.mark.parametrize(("compute", "has"), [("mxfp8", "MI355X"), ("nvfp4", "B200")])
def test_block_scaled_products_need_a_gpu_that_has_them(compute: str, has: str) -> None:
    given: dict[str, Any] = {"model": LLAMA, "recipe": {"compute": compute}}
    assert Job.read(given | {"gpu": has}).recipe.compute == compute
    with pytest.raises(PlanError, match=f"H100 SXM has no {compute}.*B200"):
        Job.read(given | {"gpu": "H100"})


def test_a_gpu_without_bf16_takes_fp16() -> None:
    assert Job.read({"model": LLAMA, "gpu": "T4", "recipe": {"params": "fp16"}}).gpu is not None
    plain = Job.read({"model": LLAMA, "gpu": "T4"}).recipe
    assert (plain.params, plain.compute) == ("fp32", "fp16")
    lora = Job.read({"model": LLAMA, "gpu": "T4", "recipe": {"method": "lora"}}).recipe
    assert lora.lora
    assert (lora.params, lora.lora.dtype) == ("fp16", "fp32")


def test_a_model_with_learned_positions_reads_no_longer_sequence() -> None:
    gpt2 = CATALOGUE["openai-community/gpt2"].config
    assert Job.read({"model": gpt2}).recipe.seq_len == 1024
    with pytest.raises(PlanError, match="1,024 learned positions"):
        Job.read({"model": gpt2, "recipe": {"seq_len": 2048}})
