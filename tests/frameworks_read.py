"""Commands of frameworks read back, by the frameworks' own defaults and arithmetic.

Written from their documentation, not from the code that writes the commands: options that a command
leaves out have the framework's default here.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
import typer.main
import yaml
from torch.distributed.run import get_args_parser

from gpu_runner.cli.application import application
from gpu_runner.cli.options import config_from_options
from gpu_runner.data.feed import BatchShape
from gpu_runner.memory.formula import build_recipe
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.lora import Lora


def read(name: str, text: str, base: Job) -> Job:
    """The job that a command starts; `base` is one GPU's, and says what no command does."""
    return {
        "torchtitan": torchtitan,
        "megatron": megatron,
        "accelerate": accelerate,
        "deepspeed": deepspeed,
        "axolotl": axolotl,
        "llama-factory": llama_factory,
        "unsloth": unsloth,
        "unfrozen": ours,
    }[name](text, base)


def words(text: str) -> list[str]:
    """The words of the command below comments, files and variables."""
    typed = text.rpartition("\nEND\n")[2].replace("\\\n", " ")
    argv = shlex.split(typed, comments=True)
    return argv[next(index for index, word in enumerate(argv) if "=" not in word) :]


def files(text: str) -> dict[str, str]:
    """What a command writes first, by the name of each file."""
    return dict(re.findall(r"cat > (\S+) <<'END'\n(.*?)\nEND\n", text, re.DOTALL))


def world(argv: list[str]) -> int:
    """Processes that torchrun starts, on all machines."""
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--nnodes", type=int, default=1)
    options.add_argument("--nproc-per-node", type=int, required=True)
    found, _ = options.parse_known_args(argv)
    return int(found.nnodes * found.nproc_per_node)


def torchtitan(text: str, base: Job) -> Job:
    argv = words(text)
    assert argv[0] == "torchrun"
    found, rest = _torchtitan_options(argv)
    [recomputed] = [word for word in rest if word.startswith("activation-checkpoint:")]
    pp, tp, cp = (getattr(found, f"{n}_parallel_degree") for n in ("pipeline", "tensor", "context"))
    replicate, shard = found.data_parallel_replicate_degree, found.data_parallel_shard_degree
    gpus = world(argv)
    shard = gpus // (replicate * pp * tp * cp) if shard == -1 else shard
    assert replicate * shard * pp * tp * cp == gpus
    fsdp = shard * cp
    local, micro = found.local_batch_size, found.local_batch_size
    if pp > 1:
        micro = found.pipeline_parallel_microbatch_size
    accumulated, left = divmod(found.global_batch_size, local * replicate * shard)
    assert not left
    cluster = _torchtitan_cluster(found, gpus, fsdp)
    return started(
        base,
        cluster,
        params="fp32",
        master=None,
        grads="fp32",
        grad_buckets=False,
        loss="loss_parallel" if tp > 1 else base.recipe.loss,
        outer_apart=cluster.sharding == "zero3",
        kernels="fused" if found.compile else "eager",
        seq_len=found.seq_len,
        micro_batch=micro,
        grad_accum=accumulated * local // micro,
        checkpointing=recomputed.partition(":")[2],
    )


def _torchtitan_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    options = argparse.ArgumentParser(allow_abbrev=False)
    for key, default in (
        ("training.seq_len", 2048),
        ("training.local_batch_size", 8),
        ("training.global_batch_size", -1),
        ("parallelism.data_parallel_replicate_degree", 1),
        ("parallelism.data_parallel_shard_degree", -1),
        ("parallelism.tensor_parallel_degree", 1),
        ("parallelism.context_parallel_degree", 1),
        ("parallelism.pipeline_parallel_degree", 1),
        ("parallelism.expert_parallel_degree", 1),
        ("parallelism.pipeline_parallel_microbatch_size", 1),
    ):
        options.add_argument(f"--{key}", dest=key.split(".")[1], type=int, default=default)
    options.add_argument("--parallelism.fsdp_reshard_after_forward", dest="reshard", default="")
    options.add_argument(
        "--parallelism.pipeline_parallel_schedule", dest="schedule", default="1F1B"
    )
    options.add_argument("--compile.enable", dest="compile", action="store_true")
    return options.parse_known_args(argv)


def _torchtitan_cluster(found: argparse.Namespace, gpus: int, fsdp: int) -> Cluster:
    """FSDP spreads over data and context; experts take ranks of data and tensor."""
    sharding = {"always": "zero3", "never": "zero2", "": "zero3"}[found.reshard]
    tp, replicate = found.tensor_parallel_degree, found.data_parallel_replicate_degree
    return Cluster(
        gpus=gpus,
        sharding=sharding if fsdp > 1 else "none",
        shard_size=fsdp if fsdp > 1 and replicate > 1 else None,
        tensor_parallel=tp,
        sequence_parallel=tp > 1,
        context_parallel=found.context_parallel_degree,
        pipeline_parallel=found.pipeline_parallel_degree,
        pipeline_schedule={"1F1B": "1f1b", "Interleaved1F1B": "interleaved"}[found.schedule],
        expert_parallel=found.expert_parallel_degree,
        expert_tensor_parallel=1 if found.expert_parallel_degree > 1 else None,
    )


def megatron(text: str, base: Job) -> Job:
    argv = words(text)
    found = _megatron_options(argv)
    gpus = world(argv)
    pp, tp = found.pipeline_model_parallel_size, found.tensor_model_parallel_size
    alike = gpus // (pp * tp)
    cluster = _megatron_cluster(found, gpus)
    replicas = alike // found.context_parallel_size
    return started(
        base,
        cluster,
        params="bf16" if found.bf16 else "fp32",
        master="fp32",
        grads="fp32",
        grad_buckets=False,
        loss="vocab_parallel",
        kernels="fused",
        seq_len=found.seq_length,
        micro_batch=found.micro_batch_size,
        grad_accum=found.global_batch_size // (found.micro_batch_size * replicas),
        checkpointing="full" if found.recompute_granularity == "full" else "none",
    )


def _megatron_options(argv: list[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(allow_abbrev=False)
    for key in ("tensor-model", "context", "pipeline-model", "expert-model"):
        options.add_argument(f"--{key}-parallel-size", type=int, default=1)
    options.add_argument("--expert-tensor-parallel-size", type=int)
    options.add_argument("--num-virtual-stages-per-pipeline-rank", type=int)
    options.add_argument("--num-distributed-optimizer-instances", type=int, default=1)
    options.add_argument("--data-parallel-sharding-strategy", default="optim_grads_params")
    for flag in ("sequence-parallel", "use-distributed-optimizer", "use-megatron-fsdp", "bf16"):
        options.add_argument(f"--{flag}", action="store_true")
    for key in ("seq-length", "micro-batch-size", "global-batch-size"):
        options.add_argument(f"--{key}", type=int, required=True)
    options.add_argument("--recompute-granularity")
    return options.parse_known_args(argv)[0]


def _megatron_cluster(found: argparse.Namespace, gpus: int) -> Cluster:
    pp, tp = found.pipeline_model_parallel_size, found.tensor_model_parallel_size
    alike = gpus // (pp * tp)
    strategy = {
        "no_shard": "none",
        "optim": "zero1",
        "optim_grads": "zero2",
        "optim_grads_params": "zero3",
    }[found.data_parallel_sharding_strategy]
    sharding = strategy if found.use_megatron_fsdp else "none"
    if found.use_distributed_optimizer and not found.use_megatron_fsdp:
        sharding = "zero1"
    instances = found.num_distributed_optimizer_instances
    return Cluster(
        gpus=gpus,
        sharding=sharding,
        shard_size=alike // instances if instances > 1 else None,
        tensor_parallel=tp,
        sequence_parallel=found.sequence_parallel,
        context_parallel=found.context_parallel_size,
        pipeline_parallel=pp,
        pipeline_schedule="interleaved" if found.num_virtual_stages_per_pipeline_rank else "1f1b",
        expert_parallel=found.expert_model_parallel_size,
        expert_tensor_parallel=found.expert_tensor_parallel_size,
    )


def trl(argv: list[str]) -> dict[str, Any]:
    """What TRL's trainer is told of the recipe."""
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--max_length", type=int, default=1024)
    options.add_argument("--per_device_train_batch_size", type=int, default=8)
    options.add_argument("--gradient_accumulation_steps", type=int, default=1)
    options.add_argument("--gradient_checkpointing", default="true")
    options.add_argument("--torch_compile", default="false")
    options.add_argument("--attn_implementation", default="sdpa")
    found, _ = options.parse_known_args(argv)
    return {
        "seq_len": found.max_length,
        "micro_batch": found.per_device_train_batch_size,
        "grad_accum": found.gradient_accumulation_steps,
        "checkpointing": "full" if found.gradient_checkpointing == "true" else "none",
        "kernels": "fused" if found.torch_compile == "true" else "eager",
        "attention": {"flash_attention_2": "flash"}.get(
            found.attn_implementation, found.attn_implementation
        ),
        "loss": "fused_linear",
        **trl_adapters(argv),
    }


def trl_adapters(argv: list[str]) -> dict[str, Any]:
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--lora_r", type=int, default=16)
    options.add_argument("--lora_dropout", type=float, default=0.05)
    options.add_argument("--lora_target_modules", nargs="+")
    options.add_argument("--lora_modules_to_save", nargs="+", default=[])
    options.add_argument("--dtype", default="float32")
    for flag in ("use_peft", "load_in_4bit", "load_in_8bit", "use_bnb_nested_quant"):
        options.add_argument(f"--{flag}", action="store_true")
    found, _ = options.parse_known_args(argv)
    if not found.use_peft:
        return {"method": "full", "lora": None, "base": None}
    assert found.dtype == "bfloat16"
    four = "nf4-dq" if found.use_bnb_nested_quant else "nf4"
    base = four if found.load_in_4bit else "int8" if found.load_in_8bit else None
    # TRL casts adapters beside quantized weights to bf16; PEFT has fp32 ones beside others
    dtype: dict[str, Any] = {"dtype": "bf16"} if base else {"dtype": "fp32", "autocast": True}
    targets = found.lora_target_modules + found.lora_modules_to_save
    if found.lora_modules_to_save and "--use_fsdp" in argv and not base:
        dtype["saved_fp32"] = True  # accelerate casts what trains
    return adapters(base, found.lora_r, found.lora_dropout, targets, **dtype)


def adapters(
    base: str | None, rank: int, dropout: float, targets: list[str], **more: Any
) -> dict[str, Any]:
    """The recipe's part of adapters; those without dropout are those of a job that says none."""
    drops = dropout or None
    lora = Lora(rank, targets=tuple(targets), **{"library": "peft", "dropout": drops, **more})
    states = {"params": "bf16", "master": None, "grads": lora.dtype, "moments": lora.dtype}
    return {"method": "qlora" if base else "lora", "base": base, "lora": lora, **states}


def accelerate(text: str, base: Job) -> Job:
    argv = words(text)
    assert argv[:2] == ["accelerate", "launch"]
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--num_processes", type=int, required=True)
    for name in ("dp_replicate", "dp_shard", "cp"):
        options.add_argument(f"--parallelism_config_{name}_size", type=int, default=1)
    for flag in ("use_fsdp", "use_parallelism_config", "multi_gpu"):
        options.add_argument(f"--{flag}", action="store_true")
    options.add_argument("--fsdp_reshard_after_forward", default="true")
    options.add_argument("--mixed_precision", required=True)
    found, _ = options.parse_known_args(argv)
    recipe = trl(argv)
    cp, groups = found.parallelism_config_cp_size, found.parallelism_config_dp_replicate_size
    shards = found.parallelism_config_dp_shard_size * cp
    if found.use_parallelism_config:
        assert groups * shards == found.num_processes
    sharding = {"true": "zero3", "false": "zero2"}[found.fsdp_reshard_after_forward]
    cluster = Cluster(
        gpus=found.num_processes,
        sharding=sharding if found.use_fsdp else "none",
        shard_size=shards if groups > 1 else None,
        context_parallel=cp,
    )
    if cp > 1:  # without a mask, which only causal attention over whole rows allows
        recipe["attention"] = "flash"
    assert found.mixed_precision == "bf16"
    if found.use_fsdp:
        recipe |= {"reduce": "bf16", "no_sync": True}
    states = {"params": "fp32", "master": None, "grads": "fp32"}
    return started(base, cluster, **{**states, **recipe})


def deepspeed(text: str, base: Job) -> Job:
    argv = words(text)
    gpus = int(argv[argv.index("--num_processes") + 1])
    config = json.loads(files(text)[argv[argv.index("--deepspeed_config_file") + 1]])
    return under_deepspeed(config, base, gpus, trl(argv))


def under_deepspeed(config: dict[str, Any], base: Job, gpus: int, recipe: dict[str, Any]) -> Job:
    zero = config["zero_optimization"]
    offload = "optimizer" if "offload_optimizer" in zero else "none"
    cluster = Cluster(
        gpus=gpus,
        sharding=("none", "zero1", "zero2", "zero3")[zero["stage"]],
        offload="params" if "offload_param" in zero else offload,
    )
    assert config["bf16"]["enabled"]
    assert config["train_micro_batch_size_per_gpu"] == recipe["micro_batch"]
    assert config["gradient_accumulation_steps"] == recipe["grad_accum"]
    each = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"]
    assert config["train_batch_size"] == each * gpus
    recipe |= {"grad_buckets": False, "step": "sub_groups" if zero["stage"] == 3 else "fused"}
    recipe |= {"params": "bf16", "master": "fp32", "grads": "bf16", "moments": "fp32"}
    if recipe["lora"]:  # everything is bf16 in DeepSpeed's engine
        narrow = {"dtype": "bf16", "autocast": False, "saved_fp32": False}
        recipe["lora"] = replace(recipe["lora"], **narrow)
    return started(base, cluster, **recipe)


def axolotl(text: str, base: Job) -> Job:
    argv = words(text)
    assert argv[:2] == ["axolotl", "train"]
    found = yaml.safe_load(files(text)[argv[2]])
    gpus = int(argv[argv.index("--num_processes") + 1])
    assert found["bf16"]
    fsdp = found.get("fsdp_config")
    sharding = ("zero3" if fsdp["reshard_after_forward"] else "zero2") if fsdp else "none"
    recipe: dict[str, Any] = {
        "seq_len": found["sequence_len"],
        "micro_batch": found["micro_batch_size"],
        "grad_accum": found["gradient_accumulation_steps"],
        "checkpointing": "full" if found["gradient_checkpointing"] else "none",
        "reentrant": found["gradient_checkpointing_kwargs"]["use_reentrant"],
        "kernels": "fused" if found.get("torch_compile") else "eager",
        "attention": {"flash_attention_2": "flash"}[found["attn_implementation"]],
        "loss": "logits_fp32",
        **({"reduce": "bf16", "no_sync": True} if fsdp else {}),
    }
    if "adapter" in found:
        targets = (
            ["all-linear"] if found.get("lora_target_linear") else found["lora_target_modules"]
        )
        whole = found.get("lora_modules_to_save", [])
        dq = found.get("bnb_config_kwargs", {}).get("bnb_4bit_use_double_quant", True)
        four = ("nf4-dq" if dq else "nf4") if found.get("load_in_4bit") else None
        base_weights = "int8" if found.get("load_in_8bit") else four
        sizes = (found["lora_r"], found["lora_dropout"], [*targets, *whole])
        saved = bool(whole and fsdp and not base_weights)
        recipe |= adapters(base_weights, *sizes, dtype="fp32", autocast=True, saved_fp32=saved)
    elif fsdp:
        recipe |= {"params": "fp32", "master": None, "grads": "fp32"}
    else:
        recipe |= {"params": "bf16", "master": None, "grads": "bf16", "moments": "bf16"}
    return started(base, Cluster(gpus, sharding), **recipe)


def llama_factory(text: str, base: Job) -> Job:
    argv = words(text)
    assert argv[:2] == ["llamafactory-cli", "train"]
    found = yaml.safe_load(files(text)[argv[2]])
    each = re.search(r"NPROC_PER_NODE=(\d+)", text)
    nodes = re.search(r"NNODES=(\d+)", text)
    gpus = (int(each[1]) if each else 1) * (int(nodes[1]) if nodes else 1)
    recipe: dict[str, Any] = {
        "seq_len": found["cutoff_len"],
        "micro_batch": found["per_device_train_batch_size"],
        "grad_accum": found["gradient_accumulation_steps"],
        "checkpointing": "none" if found["disable_gradient_checkpointing"] else "full",
        "reentrant": found["use_reentrant_gc"],
        "kernels": "fused" if found.get("torch_compile") else "eager",
        "attention": {"fa2": "flash", "disabled": "eager"}.get(found["flash_attn"], "sdpa"),
        "loss": "logits_fp32",
        **{"params": "fp32", "master": None, "grads": "fp32", "lora": None},
    }
    if found["finetuning_type"] == "lora":
        targets = (
            ["all-linear"] if found["lora_target"] == "all" else found["lora_target"].split(",")
        )
        whole = found["additional_target"].split(",") if "additional_target" in found else []
        four = "nf4-dq" if found.get("double_quantization", True) else "nf4"
        weights = {4: four, 8: "int8", None: None}[found.get("quantization_bit")]
        sizes = (found["lora_rank"], found["lora_dropout"], [*targets, *whole])
        saved = bool(whole)
        recipe |= adapters(weights, *sizes, dtype="fp32", autocast=True, saved_fp32=saved)
    if "deepspeed" in found:
        return under_deepspeed(json.loads(files(text)[found["deepspeed"]]), base, gpus, recipe)
    return started(base, Cluster(gpus), **recipe)


def unsloth(text: str, base: Job) -> Job:
    argv = words(text)
    assert argv[:2] == ["unsloth", "train"]
    options = argparse.ArgumentParser(allow_abbrev=False)
    for name, default in (("max-seq-length", 2048), ("batch-size", 2), ("lora-r", 64)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--gradient-accumulation-steps", type=int, default=4)
    options.add_argument("--training-type", default="lora")
    options.add_argument("--gradient-checkpointing", default="unsloth")
    options.add_argument("--load-in-4bit", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--lora-dropout", type=float, default=0.0)
    options.add_argument("--target-modules", default="all-linear")
    found, _ = options.parse_known_args(argv)
    recipe: dict[str, Any] = {
        "seq_len": found.max_seq_length,
        "micro_batch": found.batch_size,
        "grad_accum": found.gradient_accumulation_steps,
        "checkpointing": "none" if found.gradient_checkpointing == "none" else "full",
        "activation_offload": found.gradient_checkpointing == "unsloth",
        "kernels": "fused_block" if found.training_type == "lora" else "eager",
        **{"attention": "flash", "loss": "logits_bf16", "compiled_loss": True},
        **{"params": "bf16", "master": None, "grads": "bf16"},
    }
    if found.training_type == "lora":
        weights = "nf4-dq" if found.load_in_4bit else None
        sizes = (found.lora_r, found.lora_dropout, found.target_modules.split(","))
        recipe |= adapters(weights, *sizes, dtype="fp32", autocast=True)
    return started(base, Cluster(), **{**recipe, "moments": "int8"})


def ours(text: str, base: Job) -> Job:
    """By torchrun's own parser, the runner's own, and what the runner itself predicts."""
    argv, gpus = words(text), 1
    if argv[0] == "torchrun":
        launched = get_args_parser().parse_args(argv[1:])
        gpus = int(launched.nnodes.split(":")[0]) * int(launched.nproc_per_node)
        argv = ["unfrozen", *launched.training_script_args]
    name, *options = argv[1:]
    command = typer.main.get_command(application()).commands[name]  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(gpus))
        config = config_from_options(command.make_context(name, options).params)
    rows, parts = config.micro_batch, config.grad_accum // gpus
    shape = BatchShape(rows, config.seq_len, rows * config.seq_len, parts)
    on_gpu = replace(config, device="cuda")
    recipe = build_recipe(on_gpu, config.compute, shape, base.model)
    cluster = replace(Cluster.of_runner(gpus), shard_size=config.shard_size)
    return replace(base, recipe=recipe, cluster=replace(cluster, outer_apart=True))


def started(job: Job, cluster: Cluster, /, **recipe: Any) -> Job:
    cluster = replace(cluster, outer_apart=recipe.pop("outer_apart", False))
    recipe = {"compute": "bf16", "moments": "fp32", "step": "fused", **recipe}
    own = replace(job.recipe, **recipe)
    return replace(job, cluster=cluster, recipe=own)
