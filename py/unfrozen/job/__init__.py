"""A job: which model, trained how, on what; the one input of `unfrozen plan`.

    {"model": {a Hugging Face config.json}, "recipe": {…}, "cluster": {…}, "gpu": "A100-80GB",
     "framework": "torchtitan"}

Only `model` is needed, which may be the name of a published one. `recipe` and `cluster` document
their keys and defaults; `gpu` names a GPU of the table, or has its numbers, and without it the
question whether the job fits has no answer; `framework` gives settings that the job leaves out that
framework's defaults (`unfrozen.job.framework_defaults`).

Reading order:

- `optimizers` — every optimizer: its states, its traffic, what the runner does with it
- `unplanned` — what no plan counts, and what to plan instead
- `settings` — what a setting is: type, default, bounds, label, help
- `lora` — the adapters of a recipe, and the layers they sit beside
- `recipe` — how a model is trained
- `rollouts` — what an engine that writes completions holds of a GPU
- `cluster` — on how many GPUs
- `layout` — whether a layout fits a model
- `framework_defaults` — what a framework does where a job does not say it
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final

from unfrozen.errors import ModelError, PlanError
from unfrozen.hardware import GPUS, Gpu, find, gpu_data, gpu_of
from unfrozen.job.cluster import Cluster
from unfrozen.job.framework_defaults import ChosenFramework, apply_framework
from unfrozen.job.layout import check_layout
from unfrozen.job.lora import EXPERTS, check_targets, whole_targets
from unfrozen.job.recipe import Recipe
from unfrozen.job.rollouts import engine
from unfrozen.job.unplanned import instead_of, refuse_key
from unfrozen.model import ModelConfig, catalogue
from unfrozen.model.names import LARGEST_CONFIG_BYTES

__all__ = [
    "KEYS",
    "Job",
    "half_precision",
    "job_data",
    "on_gpu",
    "read_gpu",
    "read_model",
]


KEYS: Final = ("model", "recipe", "cluster", "gpu", "framework")
_BLACKWELL: Final = (
    "B200",
    "GB200",
    "B300",
    "GB300",
    "RTX 5080",
    "RTX 5090",
    "RTX PRO 6000 Blackwell",
)
BLOCK_SCALED: Final = {"mxfp8": (*_BLACKWELL, "MI355X"), "nvfp4": _BLACKWELL}
"""GPUs whose matrix units multiply blocks with scales of their own: NVIDIA's from Blackwell on
(PTX ISA 9.0, `.block_scale`), AMD's from CDNA 4 on (its white paper)."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job to plan."""

    model: ModelConfig
    recipe: Recipe
    cluster: Cluster
    gpu: Gpu | None = None
    framework: ChosenFramework | None = None

    @classmethod
    def read(cls, given: object) -> Job:
        """Check and read plain data. Raises PlanError with key, value, bound and remedy."""
        if not isinstance(given, Mapping):
            raise PlanError("job", given, "it must be an object", 'give {"model": {…}}')
        for key, value in given.items():
            if key not in KEYS:
                raise refuse_key("", str(key), value, KEYS)
        if "model" not in given:
            raise PlanError("model", "nothing", "a job needs a model", "give its config.json")
        model = read_model(given["model"])
        recipe, cluster, chosen = given.get("recipe") or {}, given.get("cluster") or {}, None
        gpu = None if given.get("gpu") is None else read_gpu(given["gpu"])
        if gpu and isinstance(recipe, Mapping):
            recipe = on_gpu(recipe, gpu, given.get("framework"))
        if given.get("framework") is not None:
            _check_objects(recipe, cluster)
            a = model.architecture
            lora = recipe.get("lora")
            named = lora.get("targets") if isinstance(lora, Mapping) else ()
            has = {"experts": a.experts is not None, "tower": a.vision}
            has["whole"] = bool(whole_targets(model, named))
            chosen, recipe, cluster = apply_framework(
                given["framework"], recipe, cluster, a.model_type, **has
            )
        read = Recipe.read(recipe)
        job = cls(
            model.language if read.frozen_tower else model,
            read,
            Cluster.read(cluster),
            gpu,
            chosen,
        )
        job = _within_positions(job, given.get("recipe") or {})
        _check_gpu(job)
        _check_parts(job)
        return job

    def on(self, gpu: Gpu) -> Job:
        """Return the same job on another GPU. Raises PlanError where that cannot take it."""
        moved = replace(self, gpu=gpu)
        _check_gpu(moved)
        return moved


def on_gpu(recipe: Mapping[str, Any], gpu: Gpu, framework: object = None) -> Mapping[str, Any]:
    """Return a recipe with what a GPU leaves no choice of, where the recipe leaves it open."""
    kernels = {"attention": "eager"} if gpu.device == "mps" else {}
    if gpu.bf16:
        return kernels | dict(recipe)
    casts = framework is not None and recipe.get("method") == "qlora"
    upcast = casts and apply_framework(framework, recipe, {})[1].get("params") == "fp32"
    return kernels | dict(half_precision(recipe, wide=upcast))


def job_data(job: Job, model: object) -> dict[str, object]:
    """Return a job with every setting as plain data, which `Job.read` reads as the same job.

    `model` is its model as it was given: a published name, or the content of a config.json.
    """
    found = {"model": model, "recipe": asdict(job.recipe), "cluster": asdict(job.cluster)}
    if job.gpu is not None:
        found["gpu"] = gpu_data(job.gpu)
    return found | ({"framework": job.framework.name} if job.framework else {})


def half_precision(recipe: Mapping[str, Any], *, wide: bool = False) -> Mapping[str, Any]:
    """Return a recipe on GPUs without bf16, in fp16 autocast where it leaves its precision open: of
    16-bit weights where fp32 adapters train beside them, unless these weights are `wide`.
    """
    if recipe.keys() & {"params", "compute"}:
        return recipe
    autocast = {"params": "fp32", "compute": "fp16"}
    if recipe.get("method", "full") == "full":
        return {**recipe, **autocast}
    lora = recipe.get("lora") or {}
    lora = {"dtype": "fp32", **lora} if isinstance(lora, Mapping) else lora
    return {**recipe, **(autocast if wide else {"params": "fp16"}), "lora": lora}


def read_model(given: object) -> ModelConfig:
    """Return the model of a config.json, cached by its content, or of a published name. Raises
    PlanError.
    """
    if isinstance(given, str):
        return catalogue.find(given).model
    try:
        # unlike JSON it keeps types apart; version 2 writes no references
        key = marshal.dumps(given, 2)  # type: ignore[arg-type]
    except ValueError:  # not plain data
        key = b""
    if len(key) > LARGEST_CONFIG_BYTES:
        bound = f"a config.json is smaller than {LARGEST_CONFIG_BYTES:,} bytes"
        raise PlanError("model", given, bound, "give the model's own config.json")
    try:
        return _cached_model(key) if key else ModelConfig.from_hf(given)  # type: ignore[arg-type]
    except ModelError as error:
        key_of_job = error.key if error.key == "model" else f"model.{error.key}"
        raise PlanError(key_of_job, error.value, error.bound, error.remedy) from None


@lru_cache(maxsize=128)
def _cached_model(key: bytes) -> ModelConfig:
    return ModelConfig.from_hf(marshal.loads(key))


def _within_positions(job: Job, recipe: object) -> Job:
    """Return the job with its default sequence length cut to the model's learned positions."""
    most = job.model.architecture.positions
    if not most or job.recipe.seq_len <= most:
        return job
    if isinstance(recipe, Mapping) and "seq_len" in recipe:
        bound = f"the model has {most:,} learned positions"
        raise PlanError("recipe.seq_len", job.recipe.seq_len, bound, f"use at most {most}")
    return replace(job, recipe=replace(job.recipe, seq_len=most))


def _check_parts(job: Job) -> None:
    """Ranks must divide the model, and adapters must find the layers they sit beside."""
    ranks = job.cluster.tensor_parallel
    try:
        local = job.model.split(ranks)
    except ModelError as error:
        bound = f"it must divide model.{error.key} = {error.value}"
        remedy = "use a divisor, and no more ranks than heads"
        raise PlanError("cluster.tensor_parallel", ranks, bound, remedy) from None
    sharing, length = job.cluster.context_parallel, job.recipe.seq_len
    if sharing > length:
        bound = f"a sequence of {length} has no token for each of them"
        raise PlanError("cluster.context_parallel", sharing, bound, "use fewer ranks")
    check_layout(job.model, job.recipe, job.cluster)
    if job.recipe.lora:
        check_targets(local, job.recipe.lora)
    if job.recipe.lora and job.recipe.base and EXPERTS in job.recipe.lora.targets:
        bound = "PEFT adds adapters of experts to weights of 16 bits"
        remedy = f"drop {EXPERTS}, or set method to lora"
        raise PlanError("recipe.lora.targets", list(job.recipe.lora.targets), bound, remedy)


def _check_objects(recipe: object, cluster: object) -> None:
    for name, part in (("recipe", recipe), ("cluster", cluster)):
        if not isinstance(part, Mapping):
            raise PlanError(name, part, "it must be an object", "give {} for the defaults")


def read_gpu(given: object) -> Gpu:
    """Return the GPU of a name, or of its numbers. Raises PlanError."""
    if isinstance(given, Mapping):
        return gpu_of(given)
    if not isinstance(given, str):
        bound = "it must be the name of a GPU, or its numbers"
        raise PlanError("gpu", given, bound, 'for example "A100-80GB"')
    try:
        return find(given)
    except PlanError as error:
        told = instead_of(given)
        raise (PlanError("gpu", given, error.bound, told) if told else error) from None


_ON_APPLE: Final[dict[str, tuple[tuple[Any, ...], str]]] = {
    "cluster.gpus": ((1,), "PyTorch trains on one GPU alone"),
    "cluster.offload": (("none",), "the processor's memory is the GPU's"),
    "recipe.activation_offload": ((False,), "the processor's memory is the GPU's"),
    "recipe.attention": (("eager",), "PyTorch's backward keeps all scores, with any kernel,"),
    "recipe.kernels": (("eager",), "no kernel of Liger, Triton or CUDA runs"),
    "recipe.method": (("full", "lora"), "no quantized weights of bitsandbytes train"),
    "recipe.moments": (("fp32", "bf16", None), "no 8-bit optimizer runs"),
    "recipe.paged": ((False,), "no paged optimizer runs"),
    "recipe.compute": (("bf16", "fp16", "fp32"), "no matmul of 8 bits or fewer runs"),
}
"""What PyTorch does on its device `mps` (pytorch/pytorch issue 179294: SDPA has no backward of its
own; transformers documentation, Apple Silicon; docs/mac.md of Axolotl)."""


_NEWEST: Final = {"flash3": ("H", "GH"), "flash4": ("H", "GH", "B", "GB2", "GB3")}
"""Kernels of an attention exist for GPUs whose names begin so: Hopper, and with it Blackwell's
of data centers (Dao-AILab/flash-attention README; flash_attn/cute/interface.py)."""


def _check_gpu(job: Job) -> None:
    recipe = job.recipe
    if job.gpu is None:
        return
    if recipe.rollout_share:
        engine(job.model, recipe, job.gpu, job.cluster.gpus)
    for path, (allowed, why) in _ON_APPLE.items() if job.gpu.device == "mps" else ():
        part, _, key = path.partition(".")
        value = getattr(getattr(job, part), key)
        if value not in allowed:
            remedy = f"use {' or '.join('null' if one is None else str(one) for one in allowed)}"
            raise PlanError(path, value, f"{why} on the {job.gpu.name}", remedy)
    if recipe.compute == "fp8" and not job.gpu.fp8:
        bound = f"the {job.gpu.name} has no fp8"
        raise PlanError("recipe.compute", "fp8", bound, "use bf16, or a GPU that has it")
    if recipe.compute in BLOCK_SCALED and job.gpu.name not in BLOCK_SCALED[recipe.compute]:
        bound = f"the {job.gpu.name} has no {recipe.compute}"
        remedy = f"use bf16, or one of {', '.join(BLOCK_SCALED[recipe.compute])}"
        raise PlanError("recipe.compute", recipe.compute, bound, remedy)
    if job.gpu in GPUS and not job.gpu.name.startswith(_NEWEST.get(recipe.attention, "")):
        bound = f"FlashAttention-{recipe.attention[-1]} has no kernels for the {job.gpu.name}"
        remedy = "use flash" if job.gpu.flash else "use efficient"
        raise PlanError("recipe.attention", recipe.attention, bound, remedy)
    if job.gpu.bf16:
        return
    if recipe.flashes:
        bound = f"the {job.gpu.name} has no FlashAttention, which begins with Ampere"
        raise PlanError("recipe.attention", recipe.attention, bound, "use efficient")
    for key in ("params", "compute", "grads", "moments"):
        if getattr(recipe, key) == "bf16":
            bound = f"the {job.gpu.name} has no bf16"
            raise PlanError(f"recipe.{key}", "bf16", bound, "use fp16 or fp32")
