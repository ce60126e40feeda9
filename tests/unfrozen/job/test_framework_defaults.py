"""Frameworks: what they set where a job says nothing, told with its source."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from unfrozen.answer import answer
from unfrozen.answer.text import framework_text
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.framework_defaults import FRAMEWORKS, OTHER_NAMES
from unfrozen.job.recipe import BYTES, Lora, Recipe
from unfrozen.memory.adapters import frozen_bytes
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan, plan_job

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config
MIXTRAL = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].config
KEYS = {field.name for part in (Recipe, Cluster, Lora) for field in fields(part)}
SHARDED = {"gpus": 8, "sharding": "zero3"}


def job(name: str, **parts: Any) -> Job:
    return Job.read({"model": LLAMA, "framework": name, **parts})


@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_whatever_a_framework_sets_can_be_planned(name: str) -> None:
    clusters = ({}, SHARDED, SHARDED | {"tensor_parallel": 2})
    methods = ("full", "lora", "qlora")
    for model, method, kernels, cluster in product(
        (LLAMA, MIXTRAL), methods, ("eager", "fused"), clusters
    ):
        asked = {"method": method, "kernels": kernels, "grad_accum": 4, "seq_len": 512}
        given = {"model": model, "recipe": asked, "cluster": cluster, "framework": name}
        found = Job.read(given)
        assert found.framework is not None
        for word in found.framework.defaults:
            assert attrgetter(f"{word.part}.{word.key}")(found) == word.value
            meant_otherwise = (name, word.key) == ("prime-rl", "kernels")
            assert word.key not in {**asked, **cluster} or meant_otherwise
        assert plan_job(found).allocated_bytes > 0


def test_every_word_has_a_reason_and_a_file() -> None:
    for habits in FRAMEWORKS.values():
        for habit in habits:
            assert habit.key.removeprefix("lora.") in KEYS
            assert habit.why
            assert "/" in habit.source


READ = re.compile(r"(?:src/| )(transformers|peft|trl)[ /]([\w/]+\.py)(?: \(([\w.]+)\))?$")


def test_what_was_read_in_a_package_that_is_here_stands_there() -> None:
    found = [READ.search(habit.source) for habits in FRAMEWORKS.values() for habit in habits]
    read = {match.groups() for match in found if match}
    assert {package for package, _, _ in read} == {"transformers", "peft", "trl"}
    for package, file, word in read:
        places = importlib.util.find_spec(package).submodule_search_locations
        text = (Path(places[0]) / file).read_text(encoding="utf-8")
        assert (word or "").rpartition(".")[2] in text, (package, file, word)


def test_what_the_job_says_is_never_changed() -> None:
    said = {"no_sync": False, "reduce": "bf16", "loss": "logits_fp32"}
    found = job("kempnerforge", recipe=said, cluster=SHARDED)
    assert (found.recipe.no_sync, found.recipe.reduce) == (False, "bf16")
    assert found.framework is not None
    assert said.keys().isdisjoint(word.key for word in found.framework.defaults)


def test_what_the_others_follow_from_a_framework_follows_too() -> None:
    found = job("megatron")
    assert (found.recipe.params, found.recipe.master, found.recipe.grads) == (
        "bf16",
        "fp32",
        "fp32",
    )
    assert job("torchtitan").recipe.moments == "fp32"
    assert job("torchtune").recipe.moments == "bf16"


def test_a_habit_counts_only_where_it_has_something_to_do() -> None:
    alone, shared = job("torchtitan"), job("torchtitan", cluster=SHARDED)
    assert not alone.cluster.outer_apart
    assert shared.cluster.outer_apart
    assert job("kempnerforge").recipe.expert_padding is None
    mixed = Job.read({"model": MIXTRAL, "framework": "kempnerforge"})
    assert mixed.recipe.expert_padding == "fullest"
    eager, fused = (
        job("torchtitan", recipe={"kernels": k}).recipe.loss for k in ("eager", "fused")
    )
    assert (eager, fused) == ("logits_fp32", "logits_bf16")


class Layer(torch.nn.Module):
    """A layer whose graph is whole, or broken as by FlashAttention's wrapper."""

    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.linear, self.broken = torch.nn.Linear(8, 8), broken

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.nn.functional.silu(self.linear(x))
        if self.broken:
            torch._dynamo.graph_break()
        return torch.nn.functional.silu(inner) * x


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "graphs"), [(False, 1), (True, 0)])
def test_of_a_checkpointed_layer_with_a_broken_graph_pytorch_compiles_nothing(
    broken: bool, graphs: int
) -> None:
    compiled: list[Any] = []

    def kept(graph: Any, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    layer = checkpoint_wrapper(Layer(broken), preserve_rng_state=False)
    layer.compile(backend=kept)
    layer(torch.randn(2, 8, requires_grad=True)).sum().backward()
    assert len(compiled) == graphs


def test_so_a_compiled_layer_of_prime_rl_that_is_made_again_is_eager() -> None:
    asked = {"kernels": "fused", "checkpointing": "full"}
    assert job("prime-rl", recipe=asked).recipe.kernels == "eager"
    assert job("prime-rl", recipe={"kernels": "fused"}).recipe.kernels == "fused"
    assert job("torchtitan", recipe=asked).recipe.kernels == "fused"


def test_a_fused_loss_means_what_the_framework_has() -> None:
    asked = {"loss": "fused_linear"}
    assert job("prime-rl", recipe=asked).recipe.loss == "fused_vocab"
    assert job("torchtitan", recipe=asked).recipe.loss == "fused_linear"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KempnerForge", "kempnerforge"),
        ("Megatron-LM", "megatron"),
        ("LLM Foundry", "llm-foundry"),
        ("prime_rl", "prime-rl"),
        ("NeMo", "megatron"),
        *OTHER_NAMES.items(),
    ],
)
def test_a_framework_is_known_however_its_name_is_spelt(name: str, meant: str) -> None:
    found = job(name).framework
    assert found is not None
    assert found.name == meant
    assert job(name) == job(meant)


@pytest.mark.parametrize(
    ("name", "method", "reentrant"),
    [
        ("transformers", "lora", True),
        ("transformers", "full", False),
        ("HF 4.48.1", "full", True),
        ("transformers==4.48", "lora", True),
        ("transformers 5.24", "lora", False),
        ("trl 1.16", "lora", False),
    ],
)
def test_checkpoints_are_those_of_the_version(name: str, method: str, *, reentrant: bool) -> None:
    asked = {"method": method, "checkpointing": "full"}
    assert job(name, recipe=asked, cluster=SHARDED).recipe.reentrant == reentrant
    assert not job(name, recipe={"method": method}, cluster=SHARDED).recipe.reentrant


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("transformers", 4), ("PEFT 0.21", 4), ("trl", 2), ("trl 0.24.0", 4), ("trl 0.25", 2)),
        *(("axolotl", 2), ("llama-factory", 2), ("ms-swift", 2), ("unsloth", 2)),
    ],
)
def test_what_qlora_does_not_quantize_is_as_wide_as_its_framework_leaves_it(
    name: str, width: int
) -> None:
    asked = {"method": "qlora", "base": "nf4"}
    found, small = job(name, recipe=asked), job(name, recipe=asked, gpu="T4")
    embedding = LLAMA["vocab_size"] * LLAMA["hidden_size"]
    assert sum(frozen_bytes(found.model, found.recipe)) > width * embedding
    assert BYTES[found.recipe.params] == BYTES[small.recipe.params] == width
    assert (found.recipe.compute, small.recipe.compute) == ("bf16", "fp16")
    assert job(name, recipe=asked | {"params": "bf16"}).recipe.params == "bf16"
    assert BYTES[job(name, recipe={"method": "lora"}, gpu="T4").recipe.params] == 2


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        *(("accelerate", True), ("accelerate 1.10.1", False), ("accelerate 1.11", True)),
        *(("axolotl", True), ("axolotl 0.12.2", False), ("axolotl v0.13", True), ("trl", True)),
    ],
)
def test_gradients_of_fsdp2_stay_whole_while_accumulating_since_accelerate_1_11(
    name: str, *, whole: bool
) -> None:
    found = job(name, recipe={"grad_accum": 2}, cluster=SHARDED)
    assert found.recipe.no_sync == whole
    grads = found.model.num_parameters * BYTES[found.recipe.grads] / (1 if whole else 8)
    assert plan_job(found).instants["backward"]["grads"] == pytest.approx(grads, rel=0.01)
    alone = job(name, recipe={"grad_accum": 2}).framework
    assert alone is not None
    assert "no_sync" not in {default.key for default in alone.defaults}


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        *(("transformers", False), ("transformers 4.48", False), ("transformers 5.24", True)),
        *(("trl", True), ("axolotl", True), ("llama-factory", True), ("unsloth", False)),
    ],
)
def test_experts_are_quantized_by_the_versions_that_stack_none(name: str, *, whole: bool) -> None:
    mixtral = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].config
    asked = {"model": mixtral, "framework": name, "recipe": {"method": "qlora"}}
    found = Job.read(asked)
    assert found.recipe.whole_experts == whole
    experts, sizes = found.model.expert_parameters, frozen_bytes(found.model, found.recipe)
    assert (sum(sizes) > 2 * experts) == whole
    assert not Job.read(asked | {"recipe": {"method": "lora"}}).recipe.whole_experts
    always = Job.read(asked | {"model": CATALOGUE["openai/gpt-oss-20b"].config})
    assert always.recipe.whole_experts == (whole or name.startswith("transformers"))


@pytest.mark.parametrize("name", ["pytorch", "", 3, ["torchtitan"], True])
def test_an_unknown_framework_is_refused_with_those_that_are_known(name: object) -> None:
    with pytest.raises(PlanError) as caught:
        Job.read({"model": LLAMA, "framework": name})
    assert caught.value.key == "framework"
    assert "torchtitan" in str(caught.value)


@pytest.mark.parametrize("part", ["recipe", "cluster"])
def test_a_part_that_is_no_object_is_refused_before_anything_is_set(part: str) -> None:
    with pytest.raises(PlanError, match=f"{part}.*object"):
        Job.read({"model": LLAMA, "framework": "trl", part: "zero3"})


def test_the_answer_names_each_word_its_reason_and_its_file() -> None:
    found = plan({"model": LLAMA, "framework": "prime-rl", "cluster": SHARDED})
    told: Any = answer(found)["framework"]
    assert told["name"] == "prime-rl"
    reduced = next(word for word in told["words"] if word["key"] == "reduce")
    assert reduced["value"] == "fp32"
    assert "config.py" in reduced["source"]
    text = framework_text(found.job)
    assert "recipe.reduce = fp32" in text
    assert max(map(len, text.splitlines())) <= 100


def test_without_a_framework_nothing_is_reported() -> None:
    found = plan({"model": LLAMA})
    assert "framework" not in answer(found)
    assert framework_text(found.job) == ""
    assert plan({"model": LLAMA, "framework": None}).job == found.job


def test_a_job_that_says_everything_is_left_alone() -> None:
    asked = {"no_sync": False, "loss": "chunked", "step": "rows"}
    found = job("trl", recipe=asked)
    assert found.framework == ("trl", ())
    assert framework_text(found) == "trl: the job sets everything that it would set."


def test_adapters_are_those_of_the_framework_where_the_job_leaves_them_alone() -> None:
    lora = {"method": "lora", "lora": {"rank": 8, "dtype": "bf16"}}
    assert job("trl", recipe=lora).recipe.lora == Lora(8, "bf16", library="peft", autocast=True)
    assert job("trl", recipe={"method": "lora"}).recipe.lora == Lora(
        dtype="fp32", library="peft", autocast=True
    )
    assert job("trl", recipe={"method": "qlora"}).recipe.lora == Lora(library="peft")
    assert job("trl").recipe.lora is None
    assert "recipe.lora.dtype = fp32" in framework_text(job("axolotl", recipe={"method": "qlora"}))


def test_every_expert_of_llama_4_computes_all_tokens_in_transformers_alone() -> None:
    llama4 = CATALOGUE["meta-llama/Llama-4-Scout-17B-16E"].config
    for name, padding in (("trl", "fullest"), ("transformers", "fullest"), ("torchtitan", None)):
        found = Job.read({"model": llama4, "framework": name})
        assert found.recipe.expert_padding == padding
    assert Job.read({"model": MIXTRAL, "framework": "trl"}).recipe.expert_padding is None


@pytest.mark.parametrize("name", ["transformers", "accelerate", "trl", "axolotl"])
def test_accelerate_trains_sharded_weights_in_fp32_unless_they_are_frozen(name: str) -> None:
    assert job(name, cluster=SHARDED).recipe.params == "fp32"
    assert job(name).recipe.params == "bf16"
    assert job(name, cluster=SHARDED, recipe={"method": "lora"}).recipe.params == "bf16"
    assert job(name, cluster=SHARDED, recipe={"params": "bf16"}).recipe.params == "bf16"
