"""Every printed command has options that the named version of the framework accepts.

`options.json` is what docs/framework_options.py read in their sources. TRL, accelerate and torchrun
are here, so that their own parsers read the commands, too.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from torch.distributed.pipelining.schedules import get_schedule_class
from torch.distributed.run import get_args_parser
from trl.scripts import dpo, grpo, sft
from trl.scripts.utils import DatasetConfig

from frameworks_read import files, words
from unfrozen.errors import PlanError
from unfrozen.frameworks.registry import FILLED_IN, FRAMEWORKS
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.project.best import Work, find
from unfrozen.project.questions import question
from unfrozen.training_data import Data

OPTIONS = json.loads((Path(__file__).parent / "options.json").read_text(encoding="utf-8"))
METHODS: tuple[dict[str, Any], ...] = (
    {},
    {"params": "fp32", "master": None},
    {"method": "lora", "lora": {"rank": 8, "targets": ["q_proj", "v_proj"], "dropout": 0.05}},
    {"method": "qlora"},
    {"method": "qlora", "base": "nf4-dq"},
    {"method": "qlora", "base": "int8"},
)
KERNELS = ({"kernels": "fused", "attention": "flash"}, {"attention": "sdpa"})
WAYS = (
    *({"checkpointing": "none", "grad_accum": 8}, {"checkpointing": "selective", "grad_accum": 8}),
    {"checkpointing": "full", "grad_accum": 8, "micro_batch": 2, "activation_offload": True},
)
LAYOUTS = (
    *(Cluster(), Cluster(8), Cluster(8, "zero1"), Cluster(16, "zero2"), Cluster(16, "zero3")),
    *(Cluster(16, "zero3", shard_size=8), Cluster(8, "zero3", context_parallel=4)),
    *(Cluster(8, "zero3", offload="params"), Cluster(8, "zero2", offload="optimizer")),
    Cluster(8, "zero1", tensor_parallel=2, sequence_parallel=True),
    Cluster(16, "zero3", tensor_parallel=8, sequence_parallel=True),
    *(Cluster(8, "zero1", context_parallel=2), Cluster(8, "zero1", pipeline_parallel=4)),
    Cluster(8, "zero2", pipeline_parallel=2, pipeline_schedule="interleaved"),
    Cluster(8, "zero3", pipeline_parallel=2, pipeline_schedule="interleaved"),
    Cluster(8, "zero1", expert_parallel=4),
    Cluster(8, "zero1", tensor_parallel=2, expert_parallel=4, expert_tensor_parallel=1),
)
OBJECTIVES: tuple[dict[str, Any], ...] = (
    *({"objective": "dpo"}, {"objective": "dpo", "reference": False, "method": "lora"}),
    *({"objective": "grpo"}, {"objective": "grpo", "reference": True, "rollout_share": 0.0}),
    {"objective": "grpo", "rollout_share": 0.1},  # of engines that are split among GPUs
)
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen2.5-VL-7B-Instruct")


def jobs() -> Iterator[Job]:
    for name in MODELS:
        for cluster in LAYOUTS:
            for recipe in ({**a, **b, **c} for a in METHODS for b in KERNELS for c in WAYS):
                asked = {"model": CATALOGUE[name].config, "recipe": {**recipe, "seq_len": 4096}}
                experts = CATALOGUE[name].model.architecture.experts
                if cluster.expert_parallel == 1 or experts:
                    yield replace(Job.read(asked), cluster=cluster)
    for recipe in OBJECTIVES:
        asked = {
            "model": CATALOGUE[MODELS[0]].config,
            "recipe": {**recipe, "seq_len": 1024, "micro_batch": 8},
        }
        yield replace(Job.read(asked), cluster=Cluster(8, "zero3"))


@cache
def commands(name: str) -> tuple[tuple[Job, str], ...]:
    """Commands of a framework, each text once."""
    found = {}
    for job in jobs():
        try:
            one = FRAMEWORKS[name].adapt(job)
        except PlanError:
            continue
        found[FRAMEWORKS[name].command(one)] = one
    return tuple((job, text) for text, job in found.items())


def accepts(option: str, kind: str | list[str], value: Any) -> None:
    """Fail where an option does not take a value; a word to fill in stands for any."""
    if str(value) in FILLED_IN:
        return
    if isinstance(kind, list):
        assert {str(value), str(value).lower()} & {*kind}, f"{option} {value}: one of {kind}"
    elif kind == "flag":
        assert value is None or str(value).lower() in ("true", "false"), f"{option} {value}"
    elif kind in ("int", "float"):
        {"int": int, "float": float}[kind](value)
    else:
        assert value is not None, f"{option} needs a value"


def read_options(argv: list[str], table: Mapping[str, Any]) -> None:
    """Check each option and its values by a parser's table."""
    for index, word in enumerate(argv):
        if word.startswith("-"):
            assert word in table, f"{word} is no option"
            value = argv[index + 1] if index + 1 < len(argv) else None
            accepts(word, table[word], None if value is None or value[:1] == "-" else value)


def read_settings(settings: Mapping[str, Any], table: Mapping[str, Any], at: str = "") -> None:
    """Check each key of a file, and its value, by a parser's table."""
    for key, value in settings.items():
        assert f"{at}{key}" in table, f"{at}{key} is no key"
        if isinstance(value, dict) and any(known.startswith(f"{at}{key}.") for known in table):
            read_settings(value, table, f"{at}{key}.")
        else:
            accepts(key, table[f"{at}{key}"], value)


def launched(argv: list[str]) -> list[str]:
    """What torchrun or accelerate starts, after its own parser has read what comes before."""
    argv = ["0" if word == "RANK" else word for word in argv]
    if argv[0] == "torchrun":
        return list(get_args_parser().parse_args(argv[1:]).training_script_args)
    assert argv[:2] == ["accelerate", "launch"]
    read_options(argv[2 : argv.index("-m")], OPTIONS["accelerate"])
    return list(launch_command_parser().parse_args(argv[2:]).training_script_args)


def trl(one: Job, text: str) -> None:
    options, found = launched(words(text)), files(text)
    if "--config" in options:
        at = options.index("--config")
        mixture = yaml.safe_load(found.pop(options[at + 1]))
        assert [DatasetConfig(**one) for one in mixture["datasets"]]
        del options[at : at + 2]
    script = {"sft": sft, "dpo": dpo, "grpo": grpo}[one.recipe.objective]
    if script is sft:
        read_options(options, OPTIONS["trl"])
    parser = script.make_parser()
    parser.parse_args_and_config([*options, "--use_cpu"], fail_with_unknown_args=True)
    for written in found.values():
        read_settings(json.loads(written), OPTIONS["deepspeed"])


def megatron(job: Job, text: str) -> None:
    """By the table, and what `validate_args` asserts."""
    options = launched(words(text))
    read_options(options, OPTIONS["megatron"])
    cluster = job.cluster
    one = "CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun" in text
    if cluster.stage >= 2:
        assert not one
        assert "--ckpt-format fsdp_dtensor" in text
    else:
        assert one == (cluster.tensor_parallel > 1 or cluster.context_parallel > 1)
    assert "--sequence-parallel" in options or cluster.tensor_parallel == 1
    assert job.recipe.seq_len % (2 * cluster.context_parallel) == 0
    assert job.recipe.grad_accum % cluster.pipeline_parallel == 0


def torchtitan(job: Job, text: str) -> None:
    *options, way = launched(words(text))
    read_options(options, OPTIONS["torchtitan"])
    name, _, value = way.partition(":")
    accepts(name, OPTIONS["torchtitan"][name], value)
    assert (
        "--training.disable_cuda_graphs" in options
    )  # pipelines and experts are refused with them
    schedule = "--parallelism.pipeline_parallel_schedule"
    assert (schedule in options) == (job.cluster.pipeline_parallel > 1)
    if schedule in options:
        get_schedule_class(options[options.index(schedule) + 1])


def axolotl(job: Job, text: str) -> None:
    argv = words(text)
    settings = yaml.safe_load(files(text)[argv[2]])
    read_settings(settings, OPTIONS["axolotl"])
    launched(["accelerate", "launch", *argv[argv.index("--") + 1 :], "-m", "axolotl.cli.train"])
    if settings.get("load_in_4bit") and job.cluster.stage:  # check_fsdp2_cpu_ram_efficient_loading
        assert settings["fsdp_config"]["cpu_ram_efficient_loading"] is False


def llama_factory(_: Job, text: str) -> None:
    settings = yaml.safe_load(files(text)[words(text)[2]])
    read_settings(settings, OPTIONS["llama-factory"])
    if "deepspeed" in settings:  # hparams/parser.py: it is launched by torchrun alone
        assert "FORCE_TORCHRUN=1" in text
        read_settings(json.loads(files(text)[settings["deepspeed"]]), OPTIONS["deepspeed"])
    assert "quantization_bit" not in settings or settings["finetuning_type"] == "lora"


def unsloth(_: Job, text: str) -> None:
    read_options(words(text)[2:], OPTIONS["unsloth"])


READ: dict[str, Callable[[Job, str], None]] = {
    **{"accelerate": trl, "deepspeed": trl, "megatron": megatron, "torchtitan": torchtitan},
    **{"axolotl": axolotl, "llama-factory": llama_factory, "unsloth": unsloth},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READ)
def test_a_framework_accepts_each_of_its_commands(name: str) -> None:
    found = commands(name)
    assert len(found) >= 6
    for job, text in found:
        READ[name](job, text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READ)
def test_a_framework_accepts_the_command_of_one_plan(name: str) -> None:
    given = {"model": CATALOGUE["Qwen/Qwen2.5-7B"].config, "gpu": "H200"}
    names = ("Qwen/Qwen2.5-7B", "rows.jsonl")
    gpus, data = 1 if name == "unsloth" else 8, Data(52_000, 3, 300, 900)
    asked = question(given, gpus, data, framework=name, names=names)
    answer = Work(find(asked)).finish()
    every = [one for one in (answer.first, *answer.others, *answer.adapters) if one]
    assert every
    for one in every:
        READ[name](one.job, one.command)
        assert "Qwen/Qwen2.5-7B" in one.command or name == "torchtitan"
        assert "STEPS" not in one.command
        assert re.search(rf"epochs:? 3\b|(iters|steps) {one.steps}\b", one.command)


@pytest.mark.parametrize(
    ("argv", "framework"),
    [
        ("--micro-batch 1", "megatron"),
        ("--recompute-granularity some", "megatron"),
        ("--training.seq_len long", "torchtitan"),
        ("--use_bnb_nested_quant 4", "trl"),
    ],
)
def test_what_no_parser_has_is_found(argv: str, framework: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        read_options(shlex.split(argv), OPTIONS[framework])


def test_the_versions_named_are_those_that_were_read() -> None:
    read = dict(package.split("==") for package in OPTIONS["packages"])
    for name, framework in FRAMEWORKS.items():
        if framework.version:
            first = framework.version.split(",")[0]
            package = {"llama-factory": "llamafactory", "megatron": "megatron-core"}.get(name, name)
            assert read[package].startswith(first.removeprefix("core ")), (name, framework.version)
    for package in ("trl", "transformers"):
        named = f"{package.upper() if package == 'trl' else package} {read[package][:4]}"
        assert named in FRAMEWORKS["accelerate"].version


def test_every_word_to_fill_in_stands_in_some_command() -> None:
    texts = [
        text for name in ("megatron", "torchtitan", "llama-factory") for _, text in commands(name)
    ]
    texts += [FRAMEWORKS["unfrozen"].command(FRAMEWORKS["unfrozen"].adapt(next(jobs())))]
    for word in FILLED_IN:
        assert any(f"{word}: " in text for text in texts)
