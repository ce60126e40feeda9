"""The one plan: what an expert would run, what it takes, and what else it could be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from conftest import matrix
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FRAMEWORKS, UNFROZEN
from unfrozen.frameworks.transformers_trainers import DEEPSPEED
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import SURE, plan_job
from unfrozen.plan.step_time import job_gpu
from unfrozen.project.best import LEAST_STEPS, USUAL_SEQUENCES, OnePlan, PlannedRun, Work, find
from unfrozen.project.host import usual_host_bytes
from unfrozen.project.questions import question
from unfrozen.project.text import choice_data, facts, nothing_words, remarks
from unfrozen.training_data import Data

EIGHT_B = "meta-llama/Llama-3.1-8B"
DATA = Data(52_000, 3, 300, 900)


def answered(
    name: str = EIGHT_B, gpu: str = "H100", gpus: int = 8, data: Data | None = DATA, **more: Any
) -> OnePlan:
    """The answer for a model; `more` are keys of its recipe, or what `question` takes."""
    own = {key: more.pop(key) for key in ("sequences", "framework", "price") if key in more}
    given = {"model": CATALOGUE[name].config, "gpu": gpu, "recipe": more}
    return Work(find(question(given, gpus, data, **own))).finish()


def first(answer: OnePlan) -> PlannedRun:
    assert answer.first
    return answer.first


def test_eight_gpus_share_the_states_of_an_8b_model_and_no_layer() -> None:
    found = first(answered())
    runner = replace(Cluster.of_runner(8), outer_apart=False)
    assert found.job.cluster in (runner, replace(runner, sharding="zero2"))
    assert found.framework == "accelerate"
    assert found.job.recipe.method == "full"
    assert "--num_train_epochs 3" in found.command
    cluster = first(answered(seq_len=8192)).job.cluster
    assert cluster.replicas == 8
    assert cluster.stage >= 2


def test_an_8b_model_is_fully_fine_tuned_on_24_gb() -> None:
    answer = answered(gpu="RTX 4090", gpus=1)
    recipe = first(answer).job.recipe
    assert recipe.method == "full"
    assert recipe.rounds  # no master copy, so weights round at random
    assert recipe.optimizer_in_backward
    assert recipe.grad_accum == 1
    assert {one.job.recipe.method for one in answer.adapters} == {"lora", "qlora"}


def test_where_usual_machines_lack_memory_for_offload_it_says_how_much_it_takes() -> None:
    lacking = answered(gpu="RTX 4090", gpus=1).lacking
    assert lacking
    assert lacking.job.cluster.offload == "optimizer"
    assert lacking.needs.host > usual_host_bytes(job_gpu(lacking.job), 1)


def test_what_no_gpu_has_run_stands_below_what_one_has_and_says_so() -> None:
    answer = answered()
    every = [one for one, _ in remarks(answer)]
    assert not first(answer).untested
    assert [one.untested for one in every] == sorted(one.untested for one in every)
    own = first(answered(framework=UNFROZEN))
    assert (own.plan.chance, own.chance) == (1.0, SURE)
    assert "of at least 90%; no GPU has run unfrozen train yet" in dict(facts(own))["GPU memory"]
    assert choice_data(own)["chance"] == SURE
    assert "no GPU" in choice_data(own)["untested"]
    assert choice_data(first(answer))["untested"] is None
    shown = {note for one, note in remarks(answer) if one.untested}
    assert all("no GPU has run unfrozen train yet" in note for note in shown)


@pytest.mark.slow
def test_a_70b_model_on_eight_gpus_keeps_its_optimizer_in_host_memory() -> None:
    found = first(answered("meta-llama/Llama-3.1-70B"))
    assert found.framework == "deepspeed"
    assert found.job.cluster.offload == "optimizer"
    states = 14 * found.job.model.num_parameters  # fp32 copy, two moments, gradients in bf16
    assert found.needs.steps == pytest.approx(states, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seq_len", [4096, 8192])
def test_short_sequences_are_not_split(seq_len: int) -> None:
    found = first(answered("Qwen/Qwen3-30B-A3B", gpus=64, seq_len=seq_len))
    assert found.job.cluster.context_parallel == 1
    assert found.job.cluster.expert_parallel > 1


@pytest.mark.parametrize("name", matrix([EIGHT_B, "Qwen/Qwen3-30B-A3B"], EIGHT_B))
def test_every_choice_fits_and_every_command_is_that_of_its_framework(name: str) -> None:
    answer = answered(name)
    every = [first(answer), *answer.others, *answer.fewer, *answer.adapters]
    for one in every:
        assert plan_job(one.job).device_bytes == one.layout.device_bytes
        assert one.plan.fits
        assert one.needs.host <= usual_host_bytes(job_gpu(one.job), one.job.cluster.gpus)
        if one.framework:
            assert FRAMEWORKS[one.framework].adapt(one.job) == one.job
            assert one.command
    assert {one.job.cluster.gpus for one in answer.fewer} <= {4}


def test_steps_seconds_and_cost_are_those_of_the_rows_and_epochs() -> None:
    found = first(answered(price=2.0, sequences=64))
    run, steps = found.run, -(-52_000 * 3 * 300 // (64 * 2048))
    assert run
    assert found.steps == steps
    assert run.seconds == pytest.approx(steps * found.layout.seconds)
    assert found.cost == pytest.approx(2.0 * 8 * run.seconds / 3600)
    assert first(answered(gpu="RTX 4090", gpus=1)).cost is None  # nobody's price is known


def test_without_data_there_is_a_plan_without_hours() -> None:
    found = first(answered(data=None))
    assert found.run is None
    assert "--epochs" not in found.command


def test_a_step_has_fewer_sequences_where_rows_are_few() -> None:
    def sequences(**more: Any) -> int:
        given = {"model": CATALOGUE[EIGHT_B].config, "gpu": "H100", "recipe": more}
        return question(given, 8, data).step_sequences

    data = Data(52_000, 3, 300, 900)
    assert sequences() == USUAL_SEQUENCES
    data = Data(1000, 1, 2048, 2048)
    assert sequences() == 16
    assert LEAST_STEPS <= 1000 / 16
    assert sequences(micro_batch=2, grad_accum=3) == 48


def test_a_model_that_cannot_pack_takes_one_row_a_sequence() -> None:
    found = first(answered("tiiuae/falcon-7b", sequences=64))
    assert not found.question.packs
    assert found.steps == -(-52_000 * 3 // 64)
    assert found.job.recipe.seq_len == 960  # rows of 900
    assert "--packing" not in found.command


@pytest.mark.parametrize(
    ("name", "recipe", "steps"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", {}, 52_000 * 3 / 64),
        (EIGHT_B, {"objective": "dpo"}, 52_000 * 3 / 64),
        (EIGHT_B, {"objective": "grpo"}, 8 * 52_000 * 3 / 64),  # completions of each prompt
    ],
)
def test_rows_with_images_pairs_and_prompts_are_not_packed(
    name: str, recipe: dict[str, Any], steps: float
) -> None:
    found = first(answered(name, sequences=64, framework="accelerate", **recipe))
    assert found.steps == math.ceil(steps)
    assert "--packing" not in found.command
    objective = recipe.get("objective", "sft")
    assert f"-m trl.scripts.{objective} " in found.command
    assert found.job.recipe.seq_len == 960 + 512 * (objective == "grpo")


def test_trl_packs_no_rows_that_context_parallelism_cuts() -> None:
    asked = answered(sequences=64, framework="accelerate")
    whole, found = first(asked), {}
    for context in (1, 2):
        cluster = Cluster(8, "zero3", context_parallel=context)
        one = replace(whole.job, cluster=cluster)
        found[context] = replace(whole, layout=replace(whole.layout, job=one))
    assert (found[1].packs, found[2].packs) == (True, False)
    assert found[2].steps * found[2].layout.sequences == 52_000 * 3
    assert found[1].steps * found[1].layout.sequences < 52_000
    assert "--packing true" in found[1].command
    assert "--packing" not in found[2].command


def test_a_named_framework_runs_the_plan() -> None:
    assert {first(answered(framework=name)).framework for name in ("accelerate", DEEPSPEED)} == {
        "accelerate",
        DEEPSPEED,
    }


def test_what_fits_nowhere_has_no_plan() -> None:
    answer = answered("meta-llama/Llama-3.1-70B", "L4", 1)
    assert answer.first is None


@pytest.mark.parametrize("gpus", [0, 5000])
def test_gpus_that_cannot_be_searched_are_refused(gpus: int) -> None:
    with pytest.raises(PlanError):
        answered(gpus=gpus, sequences=8)


@pytest.mark.parametrize(
    ("recipe", "name", "typed"),
    [
        ({}, UNFROZEN, "--params fp32 --compute fp16"),
        ({"method": "lora"}, "unsloth", "--no-load-in-4bit"),
        ({"method": "qlora"}, "unsloth", " --load-in-4bit"),
    ],
)
def test_a_gpu_without_bf16_trains_in_fp16(recipe: dict[str, Any], name: str, typed: str) -> None:
    given = {"model": CATALOGUE["Qwen/Qwen2.5-0.5B"].config, "gpu": "T4", "recipe": recipe}
    found = first(Work(find(question(given, 1, Data(10_000, 3, 300, 300)))).finish())
    assert found.framework == name
    assert found.job.recipe.compute == "fp16"
    assert "bf16" not in found.job.recipe.as_json().values()
    assert typed in found.command
    if found.job.recipe.lora:
        assert (found.job.recipe.params, found.job.recipe.lora.dtype) == ("fp16", "fp32")


def test_experts_that_stay_in_16_bits_do_not_fit_a_small_gpu() -> None:
    given = {"model": CATALOGUE["Qwen/Qwen3-30B-A3B"].config, "gpu": "RTX 4090"}
    asked = question(given | {"recipe": {"method": "qlora"}}, 1, Data(1000, 1, 500, 500))
    answer = Work(find(asked)).finish()
    assert answer.first is None
    assert [*nothing_words(answer)] == [
        "QLoRA does not fit 1 × RTX 4090 (23.6 GiB); transformers 5 leaves its experts in 16 bits."
    ]


@pytest.mark.parametrize(
    ("recipe", "key"),
    [({"kernels": "eager"}, "kernels"), ({"compute": "fp32", "params": "fp32"}, "compute")],
)
def test_what_a_reader_sets_stays(recipe: dict[str, Any], key: str) -> None:
    given = {"model": CATALOGUE["Qwen/Qwen2.5-0.5B"].config, "gpu": "A100-80GB", "recipe": recipe}
    found = first(Work(find(question(given, 1, Data(10_000, 3, 300, 300)))).finish())
    assert getattr(found.job.recipe, key) == recipe[key]


@pytest.mark.parametrize("recipe", [{"optimizer": "lion"}, {"dropout": 0.1}])
def test_what_nobody_runs_is_named(recipe: dict[str, Any]) -> None:
    given = {"model": CATALOGUE["Qwen/Qwen2.5-0.5B"].config, "gpu": "A100-80GB", "recipe": recipe}
    answer = Work(find(question(given, 1, Data(10_000, 3, 300, 300)))).finish()
    ((key, value),) = recipe.items()
    assert answer.first is None
    assert f"No framework here runs recipe.{key} = {value}: " in next(nothing_words(answer))


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-0.5B"])
@pytest.mark.parametrize("gpu", ["RTX 3090", "L4", "B200"])
def test_one_gpu_needs_no_framework_for_many(name: str, gpu: str) -> None:
    given = {"model": CATALOGUE[name].config, "gpu": gpu}
    found = first(Work(find(question(given, 1, Data(10_000, 3, 300, 300)))).finish())
    assert found.framework not in ("deepspeed", "megatron", "torchtitan")
