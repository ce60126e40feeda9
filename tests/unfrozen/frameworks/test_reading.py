"""Files and commands of trainers read as jobs: each command that is written is read as its job."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import matrix
from unfrozen.__main__ import main
from unfrozen.errors import PlanError
from unfrozen.frameworks.formats import NAMES, read_format
from unfrozen.frameworks.reading import read_job, read_typed, reading_text
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan

from .test_registry import ADAPTERS, job, taken

READ = tuple(name for name in FRAMEWORKS if name != "unfrozen")


def no_file(_: str) -> None:
    """Nothing is beside a command that is read."""


def read_back(name: str, one: Job) -> Job:
    text = FRAMEWORKS[name].command(one, {"MODEL": "Qwen/Qwen2.5-7B"})
    found = read_job("train.sh", text, no_file)
    assert found.read is not None
    assert not found.read["unknown"], text
    model = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100"}
    return replace(Job.read(found.job | model), framework=None)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("gpus", matrix([1, 4, 16], 4))
@pytest.mark.parametrize("kernels", matrix(["fused", "eager"], "fused"))
def test_a_written_command_is_read_as_its_job(name: str, gpus: int, kernels: str) -> None:
    count = 0
    for one in taken(name, job(kernels=kernels), gpus):
        again = read_back(name, one)
        assert again == one, FRAMEWORKS[name].command(one)
        count += 1
    assert count >= 2 or name == "unsloth"


OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"objective": "dpo"},
    {"objective": "dpo", "reference": False},
    {"objective": "dpo", "method": "lora"},
    {"objective": "grpo"},
    {"objective": "grpo", "reference": True, "completion_len": 300, "rollout_share": 0.5},
    {"objective": "grpo", "rollout_share": 0.0, "seq_len": 1024},
)


@pytest.mark.parametrize(
    ("name", "objectives"),
    [("accelerate", "dpo grpo"), ("deepspeed", "dpo grpo"), ("axolotl", "dpo")],
)
@pytest.mark.parametrize("given", OBJECTIVES)
def test_a_written_objective_is_read_back(
    name: str, objectives: str, given: dict[str, Any]
) -> None:
    found = list(taken(name, job(**given), 8))
    assert bool(found) == (given["objective"] in objectives)
    for one in found:
        assert read_back(name, one) == one, FRAMEWORKS[name].command(one)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trl dpo --model_name_or_path a", ("dpo", True, None, None, 1024)),
        (
            "trl dpo --model_name_or_path a --precompute_ref_log_probs",
            ("dpo", False, None, None, 1024),
        ),
        (
            "accelerate launch trl/scripts/dpo.py --max_length 512 --model_name_or_path a",
            ("dpo", True, None, None, 512),
        ),
        (
            "trl grpo --model_name_or_path a --use_vllm --max_completion_length 256",
            ("grpo", False, 0.3, 256, 768),
        ),
        (
            "trl grpo --model_name_or_path a --use_vllm --vllm_mode server --beta 0.04",
            ("grpo", True, 0.0, 512, 1024),
        ),
        (
            "swift rlhf --rlhf_type grpo --model a --use_vllm true --vllm_max_model_len 4096"
            " --vllm_gpu_memory_utilization 0.5",
            ("grpo", False, 0.5, 512, 4096),
        ),
        ("cutoff_len: 2048\nstage: dpo\n", ("dpo", True, None, None, 2048)),
        (
            "base_model: a\nsequence_len: 2048\nrl: ipo\n",
            ("dpo", True, None, None, 2048),
        ),
    ],
)
def test_dpo_and_grpo_are_read_with_the_defaults_of_trl(
    text: str, expected: tuple[object, ...]
) -> None:
    found = read_job("train", text, no_file).job
    r = Job.read({**found, "model": "Llama-3.2-1B"}).recipe
    assert (r.objective, r.reference, r.rollout_share, r.completion_len, r.seq_len) == expected


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        *((name, "234") for name in ("accelerate", "deepspeed")),
        *((name, "23") for name in ("axolotl", "llama-factory")),
    ],
)
def test_a_version_of_flash_attention_is_written_and_read(name: str, versions: str) -> None:
    for version in "234":
        found = list(taken(name, job(attention=f"flash{version}"), 4))
        assert bool(found) == (version in versions)
        for one in found:
            expected = "flash" if version == "2" else f"flash{version}"
            assert read_back(name, one).recipe.attention == expected


@pytest.mark.parametrize(
    ("word", "version"),
    [
        *(("flash_attention_2", "flash"), ("kernels-community/flash-attn2", "flash")),
        *(("flash_attention_3", "flash3"), ("kernels-community/vllm-flash-attn3", "flash3")),
        *(("flash_attention_4", "flash4"), ("kernels-community/flash-attn4", "flash4")),
    ],
)
def test_the_version_of_a_kernel_is_read(word: str, version: str) -> None:
    text = axolotl(attn_implementation=word)
    found = read_job("job.yaml", text, no_file).job
    assert found["recipe"]["attention"] == version


@pytest.mark.parametrize("name", [name for name in READ if name not in ("torchtitan", "megatron")])
@pytest.mark.parametrize("gpus", [1, 4])
def test_adapters_are_read_as_they_are_written(name: str, gpus: int) -> None:
    for recipe in ADAPTERS:
        for one in taken(name, job(**recipe), gpus):
            assert read_back(name, one) == one, FRAMEWORKS[name].command(one)


EXAMPLES = json.loads((Path(__file__).parent / "example_files.json").read_text(encoding="utf-8"))
"""Facts of files in the example folders of other projects: path, commit, the keys that are not
without effect and their values, and the job that each is. Their texts are not here."""


def nested(keys: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as the file nests them."""
    found: dict[str, Any] = {}
    for key, value in keys.items():
        *parts, last = key.split(".")
        inner = found
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def options(keys: dict[str, Any]) -> str:
    found = []
    for key, value in keys.items():
        words = value if isinstance(value, list) else [value]
        found.append(f"--{key} {' '.join(shlex.quote(str(word)) for word in words)}")
    return " \\\n  ".join(found)


def rewritten(example: dict[str, Any]) -> tuple[str, str]:
    """A file of our own with these keys, and its name."""
    keys, name = example["keys"], example["path"].rpartition("/")[2]
    if name.endswith(".toml"):
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()), name
    if not name.endswith(".sh"):
        return str(yaml.safe_dump(nested(keys))), name.replace(".json", ".yaml")
    launcher = example["launcher"]
    start = f"NPROC_PER_NODE={example['gpus']} swift sft"
    if "config_file" in launcher:
        start = f"accelerate launch {options(launcher)} swift/cli/sft.py"
    return f"{start} \\\n  {options(keys)}\n", name


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one['repo']} {one['path']}")
def test_the_files_of_other_projects_are_read_without_a_hand(example: dict[str, Any]) -> None:
    beside = {name: json.dumps(nested(keys)) for name, keys in example.get("beside", {}).items()}
    text, name = rewritten(example)
    found = read_job(name, text, beside.get)
    assert found.job == example["job"]
    assert found.read is not None
    assert found.read["format"] == example["format"]
    assert found.read["unknown"] == example["unknown"]
    if example["job"].get("model") in CATALOGUE:
        assert Job.read(found.job)


def test_forty_files_of_every_project_are_among_the_examples() -> None:
    assert len(EXAMPLES) >= 40
    formats = {"axolotl", "llama-factory", "torchtune", "torchtitan", "ms-swift", "accelerate"}
    assert {one["format"] for one in EXAMPLES} == {*formats, "deepspeed", "trl"}


AXOLOTL = {"base_model": "Qwen/Qwen2.5-7B", "sequence_len": 2048, "micro_batch_size": 1}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("deepspeed_configs/zero1.json", ("zero1", "none")),
        ("deepspeed_configs/zero3_bf16.json", ("zero3", "none")),
        ("deepspeed_configs/zero3_bf16_cpuoffload_params.json", ("zero3", "params")),
        ("deepspeed_configs/zero3_bf16_cpuoffload_all.json", ("zero3", "params")),
        ("examples/deepspeed/ds_z2_offload_config.json", ("zero2", "optimizer")),
    ],
)
def test_a_file_of_deepspeed_that_is_not_there_is_read_by_its_name(
    name: str, found: tuple[str, str]
) -> None:
    read = read_job("a.yml", axolotl(deepspeed=name), lambda _: None, 8)
    cluster = read.job["cluster"]
    assert (cluster["sharding"], cluster.get("offload", "none")) == found
    assert f"{name} is not here: its name says stage and offload." in reading_text(read.read)


def axolotl(**keys: Any) -> str:
    return str(yaml.safe_dump(AXOLOTL | keys))


@pytest.mark.parametrize(
    ("text", "key", "bound"),
    [
        (axolotl(cutoff_len=2048), "job", "base_model is a key of Axolotl, cutoff_len of LLaMA-F"),
        (axolotl(load_in_4bit=True, load_in_8bit=True), "load_in_4bit", "load_in_8bit is on, too"),
        (axolotl(bf16=True, fp16=True), "bf16", "fp16 is on, too"),
        (axolotl(load_in_4bit=True), "load_in_4bit", "do not train"),
        (axolotl(lora_r=8, lora_rank=16), "lora_rank", "lora_r says 8"),
        (axolotl(micro_batch_size="two"), "micro_batch_size", "whole number"),
        (axolotl(micro_batch_size=[1]), "micro_batch_size", "whole number"),
        (axolotl(attn_implementation="telepathy"), "attn_implementation", "known values"),
        (axolotl(optimizer="adamw_torch_4bit"), "optimizer", "known are"),
        (axolotl(adapter="vera"), "adapter", "planned are"),
        (axolotl(rl="kto"), "rl", "known values are sft, pt, dpo"),
        (axolotl(gptq=True), "gptq", "no plan"),
        (axolotl(deepspeed="none.json"), "deepspeed", "no such file"),
        (axolotl(deepspeed="ds.json", gradient_accumulation_steps=4), "deepspeed: grad", "says 4"),
        (axolotl(deepspeed="ds.json", fsdp=["full_shard"]), "deepspeed", "fsdp is on, too"),
        ("a: 1\nb: 2\n", "job", "no key in it"),
        ("cutoff_len: 512\nstage: rm\n", "stage", "known values are sft, pt, dpo"),
        ("training.local_batch_size: 1\ntraining.global_batch_size: a\n", "training.g", "whole"),
        ("parallelism.data_parallel_shard_degree: [2]\n", "parallelism.d", "whole number"),
        ("unfrozen train --model a\n", "--", "by the command itself"),
        ("megatron sft --model a --tuner_type lora\n", "tuner-type", "not planned"),
        ("#!/bin/bash\necho nothing\n", "job", "one command"),
        ("swift sft --model a\nswift sft --model b\n", "job", "one command"),
        ("swift sft --model 'a\n", "line 1", "the shell refuses it"),
        ("swift rlhf --model a --rlhf_type ppo\n", "rlhf_type", "known values are sft, pt, dpo"),
        ("x" * 1_000_001, "job", "1,000,000 characters"),
        ('{"a": ', "job", "not JSON"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_its_key(text: str, key: str, bound: str) -> None:
    stage = {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    files = {"ds.json": json.dumps({"zero_optimization": stage, "gradient_accumulation_steps": 2})}
    with pytest.raises(PlanError) as refused:
        read_job("file", text, files.get)
    assert refused.value.key.startswith(key)
    assert bound in refused.value.bound
    assert refused.value.remedy


def test_a_key_that_matters_is_named_whether_it_is_counted_or_not() -> None:
    text = axolotl(neftune_noise_alpha=5, wandb_project="x", some_key=3, fsdp=["full_shard"])
    read = read_job("a.yml", text, no_file).read
    assert read is not None
    assert {*AXOLOTL, "fsdp"} == {*read["used"]}
    assert read["unknown"] == ["some_key"]
    assert set(read["effects"]) == {"neftune_noise_alpha", "gpus"}
    for word in ("Axolotl", "sequence_len", "some_key", "noise copies"):
        assert word in reading_text(read)
    assert "wandb_project" not in reading_text(read)


def test_nothing_in_a_script_is_run_and_its_own_variables_are_filled_in(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = f"""
    #!/bin/bash
    touch {mark}
    GPUS=4
    export MODEL=Qwen/Qwen2.5-7B   # the model
    # swift sft --model other
    NPROC_PER_NODE=$GPUS swift sft --model ${{MODEL}} --tuner_type full \\
      --gradient_accumulation_steps $(expr 32 / $GPUS / 2) --max_length $((1024 * 2)) \\
      --output_dir $(touch {mark}) --torch_dtype bfloat16
    """
    found = read_job("train.sh", text, no_file).job
    assert not mark.exists()
    assert found["model"] == "Qwen/Qwen2.5-7B"
    assert (found["cluster"]["gpus"], found["recipe"]["grad_accum"]) == (4, 4)
    assert found["recipe"]["seq_len"] == 2048


def test_a_typed_command_is_read_with_the_files_that_it_names() -> None:
    files = {
        "fsdp.yaml": "distributed_type: FSDP\nnum_processes: 8\nmixed_precision: bf16\n"
        "fsdp_config: {fsdp_version: 2, fsdp_reshard_after_forward: false}\n",
        "sft.yaml": "model_name_or_path: Qwen/Qwen2.5-7B\nmax_length: 4096\nlearning_rate: 2e-5\n",
    }
    typed = "accelerate launch --config_file fsdp.yaml sft.py --config sft.yaml --max_length=8192"
    found = read_typed([*typed.split(), "--gradient_checkpointing", "false"], files.get)
    assert found.job["model"] == "Qwen/Qwen2.5-7B"
    assert found.job["cluster"] == {"gpus": 8, "sharding": "zero2"}
    assert (found.job["recipe"]["seq_len"], found.job["recipe"]["checkpointing"]) == (8192, "none")
    tune = "tune run --nproc_per_node 2 full_finetune_distributed --config c.yaml batch_size=8"
    config = "model: {_component_: torchtune.models.qwen2_5.qwen2_5_0_5b}\nbatch_size: 2\n"
    found = read_typed(tune.split(), {"c.yaml": config}.get)
    assert found.job["model"] == "Qwen/Qwen2.5-0.5B"
    assert found.job["recipe"]["micro_batch"] == 8
    assert found.job["cluster"]["sharding"] == "zero3"


def test_a_megatron_script_of_ms_swift_is_read_by_megatrons_keys() -> None:
    typed = "megatron sft --model Qwen/Qwen3-8B --micro_batch_size 2 --global_batch_size 32"
    typed += " --tensor_model_parallel_size 2 --max_length 4096 --recompute_granularity full"
    found = read_typed(["NPROC_PER_NODE=8", *typed.split()], no_file)
    assert found.read is not None
    assert (found.read["format"], found.read["unknown"]) == ("megatron", [])
    recipe, cluster = found.job["recipe"], found.job["cluster"]
    assert (cluster["gpus"], cluster["tensor_parallel"], found.job["model"]) == (
        8,
        2,
        "Qwen/Qwen3-8B",
    )
    sizes = [recipe[key] for key in ("seq_len", "micro_batch", "grad_accum", "checkpointing")]
    assert sizes == [4096, 2, 4, "full"]


def test_a_folder_of_ours_is_read_from_how_its_run_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe.read({"params": "fp32", "seq_len": 512, "micro_batch": 2}).as_json()
    start = {
        **{"kind": "run.start", "config": {"model": "Qwen/Qwen2.5-0.5B"}},
        "recipe": recipe | {"lr": 1e-5, "loss_tokens": 9},
        "hardware": {"processes": 2},
    }
    (tmp_path / "events.jsonl").write_text('{"kind": "beat"}\n' + json.dumps(start) + "\n")
    assert main(["plan", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["read"]["format"] == "unfrozen"
    asked = {
        "model": "Qwen/Qwen2.5-0.5B",
        "recipe": recipe,
        "cluster": asdict(Cluster.of_runner(2)),
    }
    assert answer["device_gib"] * 2**30 == plan(asked).device_bytes
    (tmp_path / "events.jsonl").write_text("{\n")
    assert main(["plan", str(tmp_path)]) == 2
    assert "how the run started" in capsys.readouterr().err


def test_what_is_typed_changes_what_a_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yml"
    file.write_text(axolotl(fsdp=["full_shard"], fsdp_version=2))
    (tmp_path / "big.yml").write_bytes(b"#" * 65_000_000)
    changed = ["--cluster", '{"gpus": 8}', "--gpu", "H100", "--recipe", '{"seq_len": 512}']
    assert main(["plan", str(file), *changed]) == 0
    printed = capsys.readouterr().out
    assert "Read as Axolotl: base_model" in printed
    assert "512 tokens, 8 × H100" in printed
    assert main(["plan", "--json", "--", "axolotl", "train", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["read"]["format"] == "axolotl"
    assert main(["plan", str(tmp_path / "big.yml")]) == 2
    assert "more than 64,000,000 bytes" in capsys.readouterr().err
    assert main(["plan", str(file), "--", "swift", "sft"]) == 2
    assert "two jobs" in capsys.readouterr().err


def test_the_guide_lists_every_format_by_keys_that_tell_it() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "files.md").read_text(encoding="utf-8")
    for form in map(read_format, NAMES):
        [row] = [line for line in guide.splitlines() if line.startswith(f"| `{form.name}` |")]
        told = ", ".join(f"`{key}`" for key in sorted(form.marks)[:4])
        assert told in row
