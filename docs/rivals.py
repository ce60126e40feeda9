"""Ask other calculators about every published run that they can be asked about, by their own code.

    PYTHONPATH=py:web .venv/bin/python docs/rivals.py --fitcheck DIR --cookbook DIR …
    … --table   rows, medians, nine in ten and too low: theirs and ours, and nothing written

None of that code is kept here. `RIVALS` says of each calculator where it is from, what of it is
called, which rows its inputs can express, what they lack, and how a job became its inputs. DIR is
an unpacked wheel (`pip download --no-deps NAME==VERSION`, `python -m zipfile -e`) or a checkout of
the repository. Those that are named are asked again; web/measurements/others.json keeps the answers
of the rest.

A row is left out where a calculator has no input for the method, the optimizer or a way to divide
the model, offloading or the kind of model. For any other setting without an input it has its own
default. What it refuses, or fails on, is counted as refused.

Each is compared with what it counts. Where the source states the memory of the process beside that
of the tensors, that is the measurement for calculators that count processes. On other rows they
leave out what they themselves say of CUDA's context, unless the row counts it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from site_builder.accuracy import rival_lines
from site_builder.measurements import MEASUREMENTS, compare_runs
from unfrozen.answer.accuracy import (
    COLLECTIONS,
    MEMORY,
    PUBLISHED,
    SPEED,
    Comparison,
    merge_settings,
)
from unfrozen.model.architecture import Latent
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.units import GB, GIB

OTHERS: Final = MEASUREMENTS / "others.json"
NODE: Final = 8  # GPUs of a machine, where a calculator asks for machines
Answer = Callable[[Comparison], float]
"""What a calculator says of a row: bytes a GPU, or tokens a second and GPU."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A calculator: `load` takes the folder of its code and returns what answers a row."""

    name: str
    version: str
    url: str
    get: str
    kind: str
    lacks: str
    mapped: str
    takes: Callable[[Comparison], bool]
    load: Callable[[Path], Answer]
    process: bool = False  # it counts the whole process, CUDA's context too
    of: str = MEMORY

    def ask(self, folder: Path, rows: list[Comparison]) -> dict[str, Any]:
        """Return its entry in others.json."""
        answer = self.load(folder)
        answers: dict[str, float] = {}
        refused: dict[str, str] = {}
        for item in rows:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    said = answer(item) / (GIB if self.of == MEMORY else 1)
                answers[item.row.key] = float(f"{said:.5g}")
            except Exception as error:
                print(f"{self.name}: {item.row.key}: {error!r}"[:200], file=sys.stderr)
                refused[item.row.key] = type(error).__name__
        told = ("name", "version", "url", "get", "kind", "lacks", "mapped", "process", "of")
        return {key: getattr(self, key) for key in told} | {"answers": answers, "refused": refused}


# --- which rows ---------------------------------------------------------------------------------
def in_memory(item: Comparison) -> bool:
    """Nothing of the job is offloaded."""
    return item.job.cluster.offload == "none" and not item.job.recipe.activation_offload


def on_one(item: Comparison) -> bool:
    """The job has one GPU."""
    return item.job.cluster.gpus == 1


def decodes(item: Comparison) -> bool:
    """The model is a decoder with attention of one width: no encoder, no latent attention."""
    a = item.job.model.architecture
    return not a.is_encoder and a.mixer is None


def by_adamw(item: Comparison) -> bool:
    """The optimizer is AdamW with states of 16 or 32 bits on the GPU."""
    recipe = item.job.recipe
    return recipe.optimizer == "adamw" and recipe.moments != "int8" and not recipe.paged


def is_full(item: Comparison) -> bool:
    """All weights train, and none is quantized."""
    return item.job.recipe.method == "full" and item.job.recipe.base is None


def is_known(item: Comparison) -> bool:
    """The transformers library builds the model."""
    return item.job.model.architecture.model_type != "gpt"


def whole_layers(item: Comparison) -> bool:
    """Every GPU computes whole layers and sequences; states may be sharded over all GPUs."""
    c = item.job.cluster
    split = c.tensor_parallel, c.pipeline_parallel, c.context_parallel, c.expert_parallel
    return max(split) == 1 and c.shard_size is None


def in_three_dimensions(item: Comparison) -> bool:
    """Layers may be split by tensors, stages and experts, not by sequences or groups of GPUs."""
    return item.job.cluster.context_parallel == 1 and item.job.cluster.shard_size is None


def takes_fitcheck(item: Comparison) -> bool:
    """One GPU, any method, AdamW of 8 bits too."""
    fits = item.job.recipe.optimizer == "adamw" and not item.job.recipe.paged
    quantized = item.job.recipe.method == "full" and item.job.recipe.base
    return on_one(item) and fits and in_memory(item) and not quantized and decodes(item)


def takes_t4(item: Comparison) -> bool:
    """As fitcheck, on a T4: runs that its authors measured and calibrated it with."""
    return takes_fitcheck(item) and bool(item.job.gpu and item.job.gpu.name == "T4")


def takes_other_gpus(item: Comparison) -> bool:
    """As fitcheck, on other GPUs."""
    return takes_fitcheck(item) and not takes_t4(item)


def takes_unsloth(item: Comparison) -> bool:
    """One GPU, any method, AdamW of all kinds; its checkpoints may be offloaded."""
    recipe = item.job.recipe
    offloads = recipe.activation_offload and recipe.checkpointing == "none"
    kinds = recipe.optimizer == "adamw" and (recipe.base != "int8")
    whole = on_one(item) and item.job.cluster.offload == "none" and is_known(item)
    return whole and kinds and not offloads and not item.job.model.architecture.is_encoder


def takes_training_hub(item: Comparison) -> bool:
    """Any method on one GPU, or with everything sharded over all GPUs."""
    sharded = on_one(item) or (item.job.cluster.stage == 3 and whole_layers(item))
    plain = by_adamw(item) and in_memory(item) and is_known(item)
    quantized = item.job.recipe.method == "full" and item.job.recipe.base
    return sharded and plain and not quantized and not item.job.model.architecture.is_encoder


def takes_deepspeed(item: Comparison) -> bool:
    """Full fine-tuning by AdamW under ZeRO-2, ZeRO-3 or FSDP over all of several GPUs."""
    sharded = item.job.cluster.stage >= 2 and not on_one(item) and whole_layers(item)
    return sharded and is_full(item) and by_adamw(item)


def takes_accelerate(item: Comparison) -> bool:
    """Full fine-tuning by AdamW with whole states on every GPU."""
    whole = on_one(item) or (item.job.cluster.stage == 0 and whole_layers(item))
    stays = item.job.cluster.offload == "none"
    return whole and stays and is_full(item) and by_adamw(item) and is_known(item)


def takes_cookbook(item: Comparison) -> bool:
    """Full fine-tuning by AdamW, ZeRO, tensor, pipeline and expert parallel."""
    plain = is_full(item) and by_adamw(item) and in_memory(item)
    return plain and decodes(item) and in_three_dimensions(item)


def takes_megatron(item: Comparison) -> bool:
    """Runs of Megatron-LM without context parallel."""
    framework = item.job.framework.name if item.job.framework else item.row.framework
    ours = framework.lower().startswith("megatron")
    return ours and in_memory(item) and in_three_dimensions(item)


def takes_llm_analysis(item: Comparison) -> bool:
    """As the cookbook, with states of any size: AdamW of 8 bits too."""
    plain = is_full(item) and item.job.recipe.optimizer == "adamw" and not item.job.recipe.paged
    return plain and in_memory(item) and decodes(item) and in_three_dimensions(item)


def takes_speed(item: Comparison) -> bool:
    """As for memory, on a GPU with a rate that is known."""
    return takes_llm_analysis(item) and bool(item.job.gpu and peak_tflops(item))


def takes_gpu_poor(item: Comparison) -> bool:
    """One GPU, any method, AdamW."""
    return on_one(item) and by_adamw(item) and in_memory(item) and decodes(item) and not_int8(item)


def not_int8(item: Comparison) -> bool:
    """The weights are not of 8 bits."""
    return item.job.recipe.base != "int8"


def takes_table(item: Comparison) -> bool:
    """One GPU; GaLore too."""
    quantized = item.job.recipe.method == "full" and item.job.recipe.base
    galore = item.job.recipe.optimizer == "galore" and not quantized
    return on_one(item) and in_memory(item) and (galore or takes_fitcheck(item))


# --- their inputs -------------------------------------------------------------------------------
def config_of(item: Comparison) -> dict[str, Any]:
    """Return the model's config.json."""
    given = merge_settings(item.row.job, item.row.documented)["model"]
    return dict(CATALOGUE[given].config if isinstance(given, str) else given)


@cache
def processes() -> dict[str, float]:
    """Return the memory of the process in GiB, by row, where a source states it beside another."""
    files = (json.loads(file.read_text(encoding="utf-8")) for file in MEASUREMENTS.glob("*.json"))
    rows = (row for rows in files if isinstance(rows, list) for row in rows)
    return {f"{MEMORY} {row['id']}": round(row["_dev"], 4) for row in rows if "_dev" in row}


def counter_of(item: Comparison) -> str:
    """Return which counter a calculator of processes is compared with."""
    return "device" if item.row.key in processes() else item.row.counter


def parameters(item: Comparison) -> int:
    """Return all parameters of the model, as the hub states them."""
    return item.job.model.num_parameters + item.job.model.frozen


@cache
def _hf_config(text: str) -> Any:
    from transformers import AutoConfig

    given = json.loads(text)
    return AutoConfig.for_model(given.pop("model_type"), **given)


@cache
def _meta_model(text: str) -> Any:
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(_hf_config(text), dtype=torch.float32)


def _text(item: Comparison) -> str:
    return json.dumps(config_of(item), sort_keys=True)


def run_file(path: Path, cut: Mapping[str, Any] = {}) -> ModuleType:
    """Run a Python file as a module, with names in place of imports that are not installed."""
    module = ModuleType(f"rival_{path.stem}")
    sys.modules[module.__name__] = module
    for name, stand_in in cut.items():
        sys.modules[name] = stand_in
        module.__package__ = name.rpartition(".")[0]
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


def one_function(path: Path, name: str) -> Callable[..., Any]:
    """Run one function of a file alone: its module would import the whole library."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    space: dict[str, Any] = {}
    exec(compile(ast.Module([found], []), str(path), "exec"), space)
    function: Callable[..., Any] = space[name]
    return function


def imported(folder: Path, name: str) -> Any:
    """Import a package of an unpacked wheel."""
    sys.path.insert(0, str(folder))
    return importlib.import_module(name)


# --- the calculators ----------------------------------------------------------------------------
_FITCHECK_GPUS: Final = {
    "T4": "t4",
    "A100 80GB SXM": "a100-80",
    "A100 40GB": "a100-40",
    "H100 SXM": "h100",
    "H200": "h200",
    "B200": "b200",
    "L40S": "l40s",
    "RTX 3090": "3090",
    "RTX 4090": "4090",
    "RTX A6000": "a6000",
    "V100 SXM 16GB": "v100-16",
}


def fitcheck(folder: Path) -> Answer:
    """Its `estimate`, of a model that its own parser reads."""
    imported(folder, "fitcheck")
    names = "config_parser", "gpu_db", "estimator", "overhead_db"
    reader, gpus, estimator, overheads = (importlib.import_module(f"fitcheck.{n}") for n in names)

    def answer(item: Comparison) -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(_text(item))
            file.flush()
            reader.hf_hub_download = lambda **_: file.name
            reader._reported_param_count = lambda *_: parameters(item)
            model = reader.fetch_model_config("a/model")
        given = estimator.TrainingConfig(**fitcheck_settings(item))
        named = _FITCHECK_GPUS.get(item.job.gpu.name if item.job.gpu else "A100 80GB SXM")
        size = int(item.job.gpu.nominal_gb * 1024) if item.job.gpu else None
        gpu = gpus.get_gpu(named) if named else gpus.get_gpu(vram_mib=size)
        said = estimator.estimate(model, given, gpu)
        asked = gpus.gpu_key_for(gpu), given.flash_attn, given.quantization
        context = overheads.get_overhead_profile(*asked).base_context_mib
        left_out = {"device": 0, "reserved": context, "allocated": said.overhead_mib}
        return float(said.total_mib - left_out[counter_of(item)]) * 2**20

    return answer


def fitcheck_settings(item: Comparison) -> dict[str, Any]:
    """Return a job as its training configuration."""
    recipe = item.job.recipe
    computed = recipe.compute if recipe.compute in ("fp32", "fp16", "bf16") else "bf16"
    every = recipe.lora is None or recipe.lora.targets == ("all-linear",)
    linears = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    return {
        "precision": recipe.params if recipe.method == "lora" else computed,
        "quantization": (recipe.base or "none").removesuffix("-dq"),
        "double_quant": recipe.base == "nf4-dq",
        "optimizer": "adam8bit" if recipe.moments == "int8" else "adamw",
        "optimizer_dtype": "bf16" if recipe.moments == "bf16" else "fp32",
        "batch_size": recipe.micro_batch,
        "seq_len": recipe.seq_len,
        "lora_rank": recipe.lora.rank if recipe.lora else None,
        "lora_targets": linears if every or not recipe.lora else list(recipe.lora.targets),
        "grad_checkpoint": recipe.checkpointing == "full",
        "flash_attn": recipe.attention != "eager",
        "grad_accum_steps": recipe.grad_accum,
    }


def unsloth(folder: Path) -> Answer:
    """The estimator of Unsloth Studio, one file."""
    its = run_file(folder / "studio/backend/utils/hardware/vram_estimation.py")

    def answer(item: Comparison) -> float:
        recipe = item.job.recipe
        config = _hf_config(_text(item))
        config.quantization_config = {"bnb_4bit_use_double_quant": recipe.base == "nf4-dq"}
        checkpoints = "none" if recipe.checkpointing == "none" else "true"
        eight = recipe.moments == "int8"
        optimizer = "adamw_8bit" if eight else "adamw_torch"
        if recipe.paged:
            optimizer = "paged_adamw_8bit" if eight else "paged_adamw_32bit"
        given = its.TrainingVramConfig(
            training_method=recipe.method,
            batch_size=recipe.micro_batch,
            max_seq_length=recipe.seq_len,
            lora_rank=recipe.lora.rank if recipe.lora else 16,
            target_modules=list(recipe.lora.targets if recipe.lora else its.DEFAULT_TARGET_MODULES),
            gradient_checkpointing="unsloth" if recipe.activation_offload else checkpoints,
            optimizer=optimizer,
            load_in_4bit=recipe.method == "qlora",
            attention_implementation="eager" if recipe.attention == "eager" else "sdpa",
        )
        said = its.estimate_training_vram(its.extract_arch_config(config), given)
        return float(said.total - said.cuda_overhead * (counter_of(item) != "device"))

    return answer


def training_hub(folder: Path) -> Answer:
    """Its `estimate`: the middle one of its three answers."""
    patterns = (folder / "mini_trainer/osft_utils.py").read_text(encoding="utf-8")
    known = next(
        ast.literal_eval(node.value)
        for node in ast.parse(patterns).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODEL_CONFIGS"
    )
    stand_in = ModuleType("mini_trainer.osft_utils")
    stand_in.__dict__["MODEL_CONFIGS"] = known
    sys.modules["mini_trainer"] = ModuleType("mini_trainer")
    path = folder / "training_hub/profiling/memory_estimator.py"
    source = {"mini_trainer.osft_utils": stand_in}
    its = run_file(path, source)
    its.__dict__["__file__"] = str(path)
    texts: dict[str, str] = {}
    its.__dict__["AutoModel"] = SimpleNamespace(
        from_pretrained=lambda name, **_: _meta_model(texts[name])
    )
    its.BasicEstimator._update_model_storage = lambda _: None

    def answer(item: Comparison) -> float:
        recipe, gpus = item.job.recipe, item.job.cluster.gpus
        name = f"{item.job.model.architecture.model_type}/{item.row.id}"
        texts[name] = _text(item)
        return float(
            its.estimate(
                training_method="sft" if recipe.method == "full" else recipe.method,
                num_gpus=gpus,
                model_path=name,
                batch_size=recipe.micro_batch * gpus,
                max_seq_len=recipe.seq_len,
                use_liger=recipe.loss in ("fused_linear", "linear", "fused_vocab"),
                verbose=0,
                lora_r=recipe.lora.rank if recipe.lora else 32,
            )[1]
        )

    return answer


def deepspeed(folder: Path) -> Answer:
    """`estimate_zero2_model_states_mem_needs` and that of ZeRO-3, each alone."""
    zero = folder / "deepspeed/runtime/zero"
    name = "estimate_zero{}_model_states_mem_needs"
    second = one_function(zero / "stage_1_and_2.py", name.format(2))
    third = one_function(zero / "stage3.py", name.format(3))

    def answer(item: Comparison) -> float:
        cluster = item.job.cluster
        layers: dict[str, int] = defaultdict(int)
        for tensor in item.job.model.tensors:
            layers[tensor.name.rpartition(".")[0]] += tensor.size
        machines = {
            "num_gpus_per_node": min(cluster.gpus, NODE),
            "num_nodes": max(1, cluster.gpus // NODE),
            "cpu_offload": cluster.offload != "none",
        }
        if cluster.stage == 2:
            return float(second(parameters(item), **machines)[1])
        weights = {"cpu_offload_params": cluster.offload == "params"}
        return float(third(parameters(item), max(layers.values()), **machines, **weights)[1])

    return answer


def accelerate(_: Path) -> Answer:
    """`gather_data` of `accelerate estimate-memory`, whose "Training using Adam" it prints."""
    its = importlib.import_module("accelerate.commands.estimate")

    def answer(item: Comparison) -> float:
        its.create_empty_model = lambda *_, **__: _meta_model(_text(item))
        dtype = "float32" if item.job.recipe.compute == "fp32" else "bfloat16"
        given = SimpleNamespace(
            model_name="a/model", library_name="transformers", trust_remote_code=False
        )
        given.dtypes = [dtype]
        return float(max(its.gather_data(given)[0][3].values()))

    return answer


def stores_scores(item: Comparison) -> bool:
    """The attention scores of every layer wait for backward."""
    return item.job.recipe.attention == "eager" and item.job.recipe.checkpointing == "none"


def cookbook(folder: Path) -> Answer:
    """`calc_mem` of calc/calc_transformer_mem.py, which prints its answer."""
    its = run_file(folder / "calc/calc_transformer_mem.py")

    def answer(item: Comparison) -> float:
        recipe, cluster, a = item.job.recipe, item.job.cluster, item.job.model.architecture
        ffn = a.experts.ffn if a.experts else a.ffn
        sizes = {
            "num-gpus": cluster.gpus,
            "tensor-parallel-size": cluster.tensor_parallel,
            "pipeline-parallel-size": cluster.pipeline_parallel,
            "zero-stage": cluster.stage,
            "batch-size-per-gpu": recipe.micro_batch,
            "sequence-length": recipe.seq_len,
            "vocab-size": a.vocab,
            "hidden-size": a.hidden,
            "num-attention-heads": a.heads,
            "num-layers": a.layers,
            "ffn-expansion-factor": ffn / a.hidden,
            "num-mlp-linears": 3 if a.gated else 2,
            "kv-size-ratio": a.kv_heads / a.heads,
            "bytes-per-grad-ele": 4 if recipe.grads == "fp32" else 2,
            "num-experts": a.experts.count if a.experts else 0,
            "expert-parallelism": cluster.expert_parallel,
        }
        words = [f"--{key}={value}" for key, value in sizes.items()]
        words += ["--disable-mixed-precision"] * (recipe.compute == "fp32")
        words += ["--partition-activations"] * cluster.sequence_parallel
        words += ["--checkpoint-activations"] * (not stores_scores(item))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            its.calc_mem(its.config_parser().parse_args(words))
        (found,) = re.findall(r"Required for Training: ([\d.]+) GiB", printed.getvalue())
        return float(found) * GIB

    return answer


def megatron(folder: Path) -> Answer:
    """`report_theoretical_memory`, of the arguments that the run had."""
    stand_in = ModuleType("megatron_training.utils")
    stand_in.__dict__.update(is_hybrid_model=lambda _: False, print_rank_0=print)
    cut = {"megatron_training": ModuleType("megatron_training"), stand_in.__name__: stand_in}
    its = run_file(folder / "megatron/training/theoretical_memory_usage.py", cut)

    def answer(item: Comparison) -> float:
        given = SimpleNamespace(**megatron_model(item), **megatron_layout(item))
        return float(its.report_theoretical_memory(given, item.job.recipe.grad_accum)[2]) * 2**20

    return answer


def megatron_model(item: Comparison) -> dict[str, Any]:
    """Return the arguments that say what is trained."""
    a = item.job.model.architecture
    experts, mixer = a.experts, a.mixer
    padded = 128 * item.job.cluster.tensor_parallel
    latent = (
        {
            "q_lora_rank": mixer.q_rank or None,
            "kv_lora_rank": mixer.kv_rank,
            "qk_head_dim": mixer.nope,
            "qk_pos_emb_head_dim": mixer.rope,
            "v_head_dim": mixer.value,
        }
        if isinstance(mixer, Latent)
        else {}
    )
    return latent | {
        "hidden_size": a.hidden,
        "num_layers": a.layers,
        "num_attention_heads": a.heads,
        "kv_channels": a.head_dim,
        "group_query_attention": mixer is None and a.kv_heads < a.heads,
        "num_query_groups": a.kv_heads,
        "ffn_hidden_size": a.ffn,
        "swiglu": a.gated,
        "normalization": "RMSNorm" if a.norm.startswith("rms") else "LayerNorm",
        "padded_vocab_size": -(-a.vocab // padded) * padded,
        "untie_embeddings_and_output_weights": not a.tied,
        "add_bias_linear": a.has_bias("mlp."),
        "num_experts": experts.count if experts else None,
        "moe_ffn_hidden_size": experts.ffn if experts else None,
        "moe_router_topk": experts.per_token if experts else 0,
        "moe_layer_freq": [int(experts.in_layer(i)) for i in range(a.layers)] if experts else 1,
        "moe_shared_expert_intermediate_size": (experts.shared_ffn or None) if experts else None,
        "moe_shared_expert_gate": bool(experts and experts.shared_gate),
        "moe_latent_size": None,
        "mtp_num_layers": None,
        "multi_latent_attention": bool(latent),
    }


def megatron_layout(item: Comparison) -> dict[str, Any]:
    """Return the arguments that say how it is trained, and on which GPUs."""
    recipe, cluster = item.job.recipe, item.job.cluster
    return {
        "tensor_model_parallel_size": cluster.tensor_parallel,
        "pipeline_model_parallel_size": cluster.pipeline_parallel,
        "virtual_pipeline_model_parallel_size": cluster.chunks if cluster.chunks > 1 else None,
        "expert_tensor_parallel_size": cluster.expert_ranks,
        "expert_model_parallel_size": cluster.expert_parallel,
        "world_size": cluster.gpus,
        "data_parallel_size": cluster.alike,
        "use_distributed_optimizer": cluster.stage > 0,
        "sequence_parallel": cluster.sequence_parallel,
        "recompute_granularity": recipe.checkpointing.replace("none", "") or None,
        "seq_length": recipe.seq_len,
        "micro_batch_size": recipe.micro_batch,
    }


_BYTES: Final = {None: 0, "fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
_ASKED_EFFICIENCY: Final = 0.5


def peak_tflops(item: Comparison) -> float:
    """Return the dense rate of the GPU in 16 bits, in TFLOPS; 0 where it is not known."""
    gpu = item.job.gpu
    return float(gpu.bf16_tflops or gpu.fp16_tflops or 0) if gpu else 0.0


def _llm_analysis(folder: Path) -> Callable[[Comparison], dict[str, Any]]:
    sys.modules["fire"] = ModuleType("fire")
    imported(folder, "llm_analysis")
    names = "analysis", "config", "logger"
    its, kinds, log = (importlib.import_module(f"llm_analysis.{name}") for name in names)
    log.logger.setLevel("ERROR")

    def answer(item: Comparison) -> dict[str, Any]:
        recipe, cluster = item.job.recipe, item.job.cluster
        tensors = cluster.tensor_parallel
        asked = its.LLMAnalysis(
            kinds.ModelConfig(**llm_analysis_model(item)),
            kinds.GPUConfig(**llm_analysis_gpu(item)),
            kinds.DtypeConfig(**llm_analysis_bits(item)),
            kinds.ParallelismConfig(
                tp_size=tensors,
                pp_size=cluster.pipeline_parallel,
                dp_size=cluster.alike,
                ep_size=cluster.expert_parallel,
                sp_size=tensors if cluster.sequence_parallel else 1,
            ),
            flops_efficiency=_ASKED_EFFICIENCY,
        )
        recomputed = ("none", "selective", "full").index(recipe.checkpointing)
        found: dict[str, Any] = asked.training(
            activation_recomputation=its.ActivationRecomputation(recomputed),
            ds_zero=its.DSZeRO(cluster.stage),
            **llm_analysis_step(item),
        )
        return found

    return answer


def llm_analysis_model(item: Comparison) -> dict[str, Any]:
    """Return the sizes of a model; its MLP has two matrices."""
    a = item.job.model.architecture
    ffn = (a.experts.ffn if a.experts else a.ffn) * (1.5 if a.gated else 1)
    return {
        "name": item.row.id,
        "num_layers": a.layers,
        "n_head": a.heads,
        "hidden_dim": a.hidden,
        "vocab_size": a.vocab,
        "max_seq_len": item.job.recipe.seq_len,
        "num_key_value_heads": a.kv_heads,
        "ffn_embed_dim": ffn,
        "expansion_ratio": ffn / a.hidden,
        "moe_num_experts": a.experts.count if a.experts else 1,
        "moe_top_k": a.experts.per_token if a.experts else 1,
    }


def llm_analysis_gpu(item: Comparison) -> dict[str, Any]:
    """Return a GPU with so much memory that no answer is refused."""
    return {
        "name": "gpu",
        "mem_per_GPU_in_GB": 1_000_000,
        "hbm_bandwidth_in_GB_per_sec": item.job.gpu.bandwidth_gb_s if item.job.gpu else 2_000,
        "intra_node_bandwidth_in_GB_per_sec": 300,
        "intra_node_min_message_latency": 8e-6,
        "peak_fp16_TFLOPS": peak_tflops(item) or 312,
    }


def llm_analysis_bits(item: Comparison) -> dict[str, Any]:
    """Return the dtypes of matmuls, which are 8 bits wide for the time of a step in fp8 only."""
    bits = 8 if item.job.recipe.compute == "fp8" and item.row.of == SPEED else 16
    return {"weight_bits": bits, "activation_bits": bits}


def llm_analysis_step(item: Comparison) -> dict[str, Any]:
    """Return the batch, and what a parameter takes beside its 16 bits."""
    recipe = item.job.recipe
    grads = _BYTES[recipe.grads]
    rest = _BYTES[recipe.params] - 2 + _BYTES[recipe.master] + 2 * _BYTES[recipe.moments]
    return {
        "batch_size_per_gpu": recipe.micro_batch,
        "gradient_accumulation_steps": recipe.grad_accum,
        "seq_len": recipe.seq_len,
        "layernorm_dtype_bytes": 2 if recipe.params != "fp32" else 4,
        "master_weights_dtype_bytes": grads,
        "other_op_bytes": rest - grads,
        "flash_attn": recipe.attention != "eager",
        "mlp_gated_linear_units": item.job.model.architecture.gated,
    }


def llm_analysis(folder: Path) -> Answer:
    """`LLMAnalysis.training`: weights, gradients, states and activations of a GPU."""
    asked = _llm_analysis(folder)
    return lambda item: float(asked(item)["(weight+op_state+grad+act)_memory_per_gpu"])


def llm_analysis_speed(folder: Path) -> Answer:
    """`LLMAnalysis.training`: tokens of a micro-batch by its latency, for each GPU of a replica."""
    asked = _llm_analysis(folder)

    def answer(item: Comparison) -> float:
        recipe, cluster = item.job.recipe, item.job.cluster
        gpus = cluster.tensor_parallel * cluster.pipeline_parallel
        tokens = recipe.micro_batch * recipe.seq_len
        return tokens / float(asked(item)["latency_per_micro_batch"]) / gpus

    return answer


_IN_NODE: Final = """
const { readFileSync } = require("node:fs");
const source = readFileSync(process.argv[1], "utf8");
const functions = source.slice(source.indexOf("const billion"), source.indexOf("async function fetchParams"));
const window = { location: { hostname: "" } };
const later = source.slice(source.lastIndexOf("function isNumberOrFloat"), source.indexOf("function getGPUDataFromJSON"));
const ask = new Function("window", "console", functions + later + "return getAllComputedData;")(window, { log() {} });
const refuse = (message) => { throw new Error(message); };
const [config, length, method, batch, checkpoints] = JSON.parse(readFileSync(0, "utf8"));
const chosen = { dropdownTrnOrNot: "trn", dropdownFullOrNot: method, dropdownOpt: "adam_opt", dropdownQuant: "no_quant" };
const said = ask(config, null, "", length, "fp16", chosen, refuse, () => {}, batch, checkpoints);
process.stdout.write(`${said.Total} ${said["cuda + other overhead"]}`);
"""  # noqa: E501


def gpu_poor(folder: Path) -> Answer:
    """`getAllComputedData` of src/App.js, in Node, without the page around it."""

    def answer(item: Comparison) -> float:
        recipe = item.job.recipe
        method = {"full": "full_trn", "lora": "lora_trn", "qlora": "qlora"}[recipe.method]
        checkpoints = "no" if recipe.checkpointing == "none" else "yes"
        asked = [config_of(item), recipe.seq_len, method, recipe.micro_batch, checkpoints]
        said = subprocess.run(
            ["node", "-e", _IN_NODE, str(folder / "src/App.js")],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=True,
        )
        total, overhead = map(float, said.stdout.split())
        return (total - overhead * (counter_of(item) != "device")) * 2**20

    return answer


def qmemcalc(folder: Path) -> Answer:
    """Its `estimate_memory`, of a folder with the model's config.json."""
    its = imported(folder, "qmemcalc")

    def answer(item: Comparison) -> float:
        recipe = item.job.recipe
        with tempfile.TemporaryDirectory() as model:
            (Path(model) / "config.json").write_text(_text(item), encoding="utf-8")
            found = its.estimate_memory(
                model,
                recipe.micro_batch,
                recipe.seq_len,
                lora_r=recipe.lora.rank if recipe.lora else 0,
                precision=recipe.params,
                quantization="4bit" if recipe.method == "qlora" else "none",
                optimizer="paged_adamw_32bit" if recipe.paged else "adamw",
                num_trainable_params=None if recipe.lora else parameters(item),
                gradient_checkpointing=recipe.checkpointing != "none",
            )
        return float(found["total_MB"]) * 1e6

    return answer


def llama_factory(folder: Path) -> Answer:
    """The column "xB" of the table "Hardware Requirement" in README.md, gigabytes a billion."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^\| (.+?) +\| +(\d+) +\|.*\| +`(\d*)x(?:/(\d))?`GB +\|$", text, re.MULTILINE
    )
    assert lines, "the table has changed"
    table = {(name, int(bits)): int(n or 1) / int(d or 1) for name, bits, n, d in lines}

    def answer(item: Comparison) -> float:
        recipe = item.job.recipe
        pure = recipe.params != "fp32" and recipe.master is None
        asked = ("Full (`pure_bf16`)", 16) if pure else ("Full (`bf16` or `fp16`)", 32)
        if recipe.method == "qlora":
            asked = ("QLoRA / QOFT", 8 if recipe.base == "int8" else 4)
        elif recipe.method == "lora" or recipe.optimizer == "galore":
            asked = ("Freeze/LoRA/GaLore/APOLLO/BAdam/OFT", 16)
        return table[asked] * parameters(item) / 1e9 * GB

    return answer


# --- the list -----------------------------------------------------------------------------------
_ONE_GPU: Final = "one GPU"
_FULL: Final = "full: ZeRO, TP, PP, EP"

RIVALS: Final = {
    "fitcheck": Rival(
        "fitcheck-llm",
        "0.3.1",
        "https://github.com/Anassbzdd/fitcheck",
        "pip download --no-deps fitcheck-llm==0.3.1",
        _ONE_GPU,
        "fused loss, weights without master copy, models with experts",
        "precision is the dtype of the weights under LoRA and of the matmuls otherwise",
        takes_other_gpus,
        fitcheck,
        process=True,
    ),
    "fitcheck-t4": Rival(
        "fitcheck-llm, T4",
        "0.3.1",
        "https://github.com/Anassbzdd/fitcheck",
        "pip download --no-deps fitcheck-llm==0.3.1",
        "one T4: LoRA, QLoRA",
        "fused loss, weights without master copy, models with experts",
        "as on other GPUs; its authors measured these runs and calibrated it with them",
        takes_t4,
        fitcheck,
        process=True,
    ),
    "unsloth": Rival(
        "Unsloth Studio",
        "@015bdef",
        "https://github.com/unslothai/unsloth",
        "studio/backend/utils/hardware/vram_estimation.py of github.com/unslothai/unsloth @015bdef",
        _ONE_GPU,
        "precision, the loss, kernels",
        "the optimizer is the nearest AdamW of its list; checkpoints on the CPU are “unsloth”",
        takes_unsloth,
        unsloth,
        process=True,
    ),
    "training-hub": Rival(
        "training_hub",
        "0.11.2",
        "https://github.com/Red-Hat-AI-Innovation-Team/training_hub",
        "pip download --no-deps training_hub==0.11.2 rhai-innovation-mini-trainer==0.9.0",
        "one GPU, FSDP, ZeRO-3",
        "precision, checkpointing, LoRA targets",
        "its expected answer; the batch is that of all GPUs, Liger is a fused loss",
        takes_training_hub,
        training_hub,
    ),
    "deepspeed": Rival(
        "DeepSpeed, model states",
        "0.19.8",
        "https://deepspeed.readthedocs.io/en/latest/memory.html",
        "pip download --no-deps --no-binary :all: deepspeed==0.19.8",
        "full: FSDP, ZeRO-2 and 3",
        "activations, by its own description, and so batch and length; precision",
        f"machines have {NODE} GPUs; FSDP is ZeRO-3",
        takes_deepspeed,
        deepspeed,
    ),
    "accelerate": Rival(
        "accelerate estimate-memory",
        "1.15.0",
        "https://huggingface.co/docs/accelerate/usage_guides/model_size_estimator",
        "installed with requirements.txt; the folder is not read",
        "full: no sharding",
        "batch and length",
        "“Training using Adam”, in float32 where matmuls are fp32, else in bfloat16",
        takes_accelerate,
        accelerate,
    ),
    "cookbook": Rival(
        "EleutherAI cookbook",
        "@827ee3b",
        "https://github.com/EleutherAI/cookbook/blob/main/calc/calc_transformer_mem.py",
        "github.com/EleutherAI/cookbook @827ee3b",
        _FULL,
        "weights without master copy, FlashAttention, full recomputation of layers",
        "checkpoint-activations wherever attention scores are not stored, partition-activations"
        " under sequence parallel",
        takes_cookbook,
        cookbook,
    ),
    "megatron": Rival(
        "Megatron-LM, theoretical",
        "@d98e8a6",
        "https://github.com/NVIDIA/Megatron-LM/blob/main/megatron/training/theoretical_memory_usage.py",
        "github.com/NVIDIA/Megatron-LM @d98e8a6",
        "Megatron: no CP",
        "context parallel, full recomputation, activations of experts",
        "the arguments of the run",
        takes_megatron,
        megatron,
    ),
    "llm-analysis": Rival(
        "llm-analysis",
        "0.2.2",
        "https://github.com/cli99/llm-analysis",
        "pip download --no-deps llm-analysis==0.2.2",
        _FULL,
        "gated MLPs, 32-bit weights",
        "a gated MLP is one of two matrices with as many parameters; states have the bytes of the"
        " run, the GPU any memory",
        takes_llm_analysis,
        llm_analysis,
    ),
    "llm-analysis-speed": Rival(
        "llm-analysis, speed",
        "0.2.2",
        "https://github.com/cli99/llm-analysis",
        "pip download --no-deps llm-analysis==0.2.2",
        _FULL,
        "kernels, communication of gradients, pipeline bubbles",
        "as for memory; half of the GPU's 16-bit rate, which its source says Megatron-LM reaches"
        " (its default is all of it), and twice that in fp8",
        takes_speed,
        llm_analysis_speed,
        of=SPEED,
    ),
    "gpu-poor": Rival(
        "gpu_poor",
        "@ad2fc0e",
        "https://github.com/RahulSChand/gpu_poor",
        "github.com/RahulSChand/gpu_poor @ad2fc0e",
        _ONE_GPU,
        "precision, FlashAttention, LoRA rank and targets, experts",
        "Adam; checkpointing of any kind is yes",
        takes_gpu_poor,
        gpu_poor,
        process=True,
    ),
    "qmemcalc": Rival(
        "qmemcalc",
        "0.1.1",
        "https://github.com/sachin62025/qmemcalc",
        "pip download --no-deps qmemcalc==0.1.1",
        _ONE_GPU,
        "vocabulary, width of the MLP, LoRA targets, experts",
        "under full fine-tuning the trainable parameters are all of them",
        takes_gpu_poor,
        qmemcalc,
    ),
    "llama-factory": Rival(
        "LLaMA-Factory, table",
        "@ff6d4d1",
        "https://github.com/hiyouga/LLaMA-Factory#hardware-requirement",
        "README.md of github.com/hiyouga/LLaMA-Factory @ff6d4d1",
        _ONE_GPU,
        "batch and length",
        "16-bit weights without master copy are pure_bf16; GaLore has the line of LoRA",
        takes_table,
        llama_factory,
    ),
}


def rows_of(rival: Rival, rows: list[Comparison]) -> list[Comparison]:
    """Return the rows that a calculator is asked about."""
    return [item for item in rows if item.row.of == rival.of and rival.takes(item)]


def main() -> None:
    """Ask the calculators that are named, and write what they answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="print the table and write nothing")
    for key, rival in RIVALS.items():
        parser.add_argument(f"--{key}", type=Path, metavar="DIR", help=rival.get)
    given = vars(parser.parse_args())
    if not given.pop("table"):
        known = json.loads(OTHERS.read_text(encoding="utf-8"))
        told = {entry["name"]: entry for entry in known["calculators"]}
        rows = compare_runs(*PUBLISHED, *COLLECTIONS)
        for key, rival in RIVALS.items():
            if folder := given[key.replace("-", "_")]:
                told[rival.name] = rival.ask(folder, rows_of(rival, rows))
        ordered = [told[rival.name] for rival in RIVALS.values() if rival.name in told]
        known |= {"process": processes()}
        text = json.dumps(known | {"calculators": ordered}, indent=1, ensure_ascii=False)
        OTHERS.write_text(text + "\n", encoding="utf-8")
    for line in rival_lines():
        print(*line, sep="\t")


if __name__ == "__main__":
    main()
