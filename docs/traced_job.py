"""One training step of a planner's job, traced tensor by tensor without memory.

transformers builds the model from its configuration under fake tensors: they have shape, dtype and
an owner, but no memory, so an 8B model is traced on a laptop in half a minute. The first step
allocates the optimizer state, the second is recorded. What the tracker sees and what it does not is
described in docs/decisions/0012-traced-steps.md; `trace_grid.py` traces the rows of
web/measurements/steps.json.

LoRA is traced with adapters of our own, y = W x + (α/r) · B A x (Hu et al. 2021, arXiv 2106.09685),
computed in the order of the library `peft`: the input is cast to the adapter's dtype, the result of
A and B is scaled, and the sum is cast back to the dtype of the frozen layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.pytorch_utils import Conv1D

from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.memory.tracker import Components, StepMemory, TensorTracker
from unfrozen.errors import PlanError, quote_value
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
UNMASKED: Final = "sdpa_unmasked"  # sdpa on CUDA without padding: FlashAttention
Snapshot = dict[str, int]
"""Bytes alive at one moment, by the kinds of PyTorch's `MemTracker`."""
OPTIMIZERS: Final = ("adamw", "sgd", "sgd_momentum")

_TRACED: Final[dict[str, tuple[object, ...]]] = {
    "method": ("full", "lora"),
    "master": (None,),
    "optimizer": OPTIMIZERS,
    "paged": (False,),
    "optimizer_in_backward": (False,),
    "attention": ("flash", "sdpa", "eager"),
    "kernels": ("eager",),
    "checkpointing": ("none", "full"),
    "activation_offload": (False,),
    "loss": ("logits_fp32",),
    "base": (None,),
}


@dataclass(frozen=True)
class Trace:
    """The memory of one step: bytes by instant and component, and snapshots by kind."""

    job: Mapping[str, Any]
    num_parameters: int
    instants: dict[str, Components]
    end_of_forward: Snapshot
    end_of_backward: Snapshot
    idle: Snapshot

    @property
    def before_step_bytes(self) -> int:
        """The peak before the optimizer step."""
        rest = [name for name in self.instants if name != "optimizer_step"]
        return max(sum(self.instants[name].values()) for name in rest)

    @property
    def peak_bytes(self) -> int:
        """The peak of all instants."""
        return max(sum(components.values()) for components in self.instants.values())

    def row(self, name: str) -> dict[str, Any]:
        """Return the trace as a row of web/measurements/steps.json."""
        return {
            "id": name,
            "job": self.job,
            "params": self.num_parameters,
            "peak_bytes": self.peak_bytes,
            "peak_before_step_bytes": self.before_step_bytes,
            "end_of_forward": self.end_of_forward,
            "end_of_backward": self.end_of_backward,
            "idle": self.idle,
            "instants": self.instants,
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }


def read_job(given: Mapping[str, Any]) -> Job:
    """Return a planner's job; raises `UsageError` where it is invalid or cannot be traced."""
    try:
        job = Job.read(given)
    except PlanError as error:
        raise UsageError(str(error)) from None
    recipe = job.recipe
    for key, traced in _TRACED.items():
        if getattr(recipe, key) not in traced:
            _refuse(f"recipe.{key}", getattr(recipe, key), f"a trace supports {_join(traced)}")
    trained = recipe.lora.dtype if recipe.lora else recipe.params
    for key in ("grads", "moments") if recipe.optimizer != "sgd" else ("grads",):
        if getattr(recipe, key) != trained:
            bound = f"PyTorch stores them in the dtype of the trained weights, {trained}"
            _refuse(f"recipe.{key}", getattr(recipe, key), bound)
    if recipe.lora and recipe.lora.library != "peft":
        _refuse("recipe.lora.library", recipe.lora.library, "a trace supports peft")
    if recipe.lora and recipe.lora.drops:
        bound = "a trace runs the CPU's dropout, whose masks are wider than a GPU's"
        _refuse("recipe.lora.dropout", recipe.lora.dropout, bound)
    if job.model.architecture.experts and recipe.params != "bf16":
        bound = "experts are traced in bf16, the only dtype of PyTorch's grouped matmuls"
        _refuse("recipe.params", recipe.params, bound)
    for field in fields(Cluster):
        value = getattr(job.cluster, field.name)
        if value != getattr(Cluster(), field.name):
            _refuse(f"cluster.{field.name}", value, "a trace covers one GPU without sharding")
    return job


def _refuse(key: str, value: object, bound: str) -> None:
    raise UsageError(
        f"{key}: got {quote_value(value)}; {bound}; change it, or plan the job instead"
    )


def _join(values: tuple[object, ...]) -> str:
    return ", ".join("null" if v is None else str(v).lower() for v in values)


def trace_id(job: Mapping[str, Any], name: str | None = None) -> str:
    """Return a short name of a job: "llama-bf16-b4-s1024-ckpt-acc2"; `name` replaces the type."""
    read = Job.read(job)
    recipe, lora = read.recipe, read.recipe.lora
    parts = [
        name or read.model.architecture.model_type,
        "amp" if recipe.compute != recipe.params else recipe.params,
        f"b{recipe.micro_batch}",
        f"s{recipe.seq_len}",
    ]
    if lora:
        targets = [target for target in lora.targets if target != "all-linear"]
        cast = ["cast"] if lora.autocast else []
        parts += ["lora", f"r{lora.rank}", lora.dtype, *cast, *targets]
    usual = {"attention": "sdpa", "optimizer": "adamw", "step": "fused"}
    parts += [getattr(recipe, key) for key in usual if getattr(recipe, key) != usual[key]]
    if recipe.checkpointing != "none":
        parts.append("ckpt")
    if recipe.grad_accum > 1:
        parts.append(f"acc{recipe.grad_accum}")
    if recipe.dropout:
        parts.append(f"drop{recipe.dropout}")
    return "-".join(parts)


def trace(given: Mapping[str, Any]) -> Trace:
    """Return the traced step of a job. Raises as `read_job` and `build_model` do."""
    job = read_job(given)
    with FakeTensorMode():
        return prepare(given, job).run()


def prepare(given: Mapping[str, Any], job: Job) -> TracedJob:
    """Return a job whose steps can be traced; its model has no weights."""
    model = build_model(given["model"], job.recipe)
    counted = sum(parameter.numel() for parameter in model.parameters())  # tied ones once
    if counted != job.model.num_parameters:
        raise ModelLoadError(
            f"transformers builds {counted:,} parameters from this model, the planner counts"
            f" {job.model.num_parameters:,}, so trace and plan cannot be compared. Check the"
            " keys of the model."
        )
    if lora := job.recipe.lora:
        found = attach_adapters(model, lora.targets, lora.rank, DTYPES[lora.dtype])
        for name in sorted({*lora.targets} - found - {"all-linear"}):
            _refuse("recipe.lora.targets", name, "no linear layer of the model has this name")
    return TracedJob(given, job.recipe, model, counted)


def build_model(config: Mapping[str, Any], recipe: Recipe) -> Any:
    """Return the model in training mode, without weights; `ModelLoadError` for a bad config."""
    keys = dict(config)
    try:
        settings: Any = transformers.AutoConfig.for_model(keys.pop("model_type", "llama"), **keys)
        for key in vars(settings):
            if key.endswith(("dropout", "pdrop")) and recipe.dropout is not None:
                setattr(settings, key, recipe.dropout)
        AttentionInterface.register(UNMASKED, sdpa_attention_forward)
        AttentionMaskInterface.register(UNMASKED, lambda *_, **__: None)
        attention = UNMASKED if recipe.attention == "flash" else recipe.attention
        model: Any = transformers.AutoModelForCausalLM.from_config(
            settings,
            dtype=DTYPES[recipe.params],
            attn_implementation=attention,
            trust_remote_code=False,
        )
    except Exception as error:  # transformers may raise anything for a bad config
        raise ModelLoadError(f"transformers cannot build this model: {error}") from error
    model.train()
    if recipe.checkpointing == "full":
        enable = getattr(model, "activation_checkpointing_enable", None)
        enable = enable or model.gradient_checkpointing_enable  # its name before 5.20
        enable({"use_reentrant": False})
        model.disable_input_require_grads()  # only reentrant checkpointing needs it; it leaks here
    return model


def _build_optimizer(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused, foreach = recipe.step == "fused", recipe.step == "foreach"
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=1e-5, fused=fused, foreach=foreach)
    momentum = 0.9 if recipe.optimizer == "sgd_momentum" else 0.0
    return torch.optim.SGD(weights, lr=1e-5, momentum=momentum, fused=fused, foreach=foreach)


class _FirstPeaks(StepMemory):
    """Keeps the first of equal peaks, as PyTorch's `MemTracker` does."""

    def keep_larger(self, instant: str, components: Components) -> None:
        """Remember `components` at `instant` if their sum is larger than any before."""
        if sum(components.values()) > sum(self.instants.get(instant, {}).values()):
            self.instants[instant] = {name: size for name, size in components.items() if size}


class StepTracker(TensorTracker):
    """Sorts tensors as PyTorch's `MemTracker` does.

    A tensor is a gradient only once a parameter owns it, and what checkpointing recomputes in the
    backward pass, where alone gradients are enabled, is an activation.
    """

    def __init__(self, model: Any, optimizer: Any) -> None:
        super().__init__(model, optimizer)
        self.memory = _FirstPeaks("tensors")

    def _kind_of(self, tensor: Tensor) -> str:
        del tensor
        recomputes = self.instant == "backward" and torch.is_grad_enabled()
        return "activations" if recomputes else self.kind


class TracedJob:
    """One model and two steps, the second of which is recorded."""

    def __init__(
        self, given: Mapping[str, Any], recipe: Recipe, model: Any, num_parameters: int
    ) -> None:
        self._given = given
        self._recipe = recipe
        self.model = model
        self._num_parameters = num_parameters
        self.optimizer = _build_optimizer(model, recipe)
        self._snapshots: dict[str, Snapshot] = {}

    def run(self) -> Trace:
        """Trace both steps."""
        for _ in range(2):
            tracker = StepTracker(self.model, self.optimizer)
            with tracker:
                self.take_step(tracker)
        instants = {name: self._split(found) for name, found in tracker.memory.instants.items()}
        return Trace(self._given, self._num_parameters, instants, **self._snapshots)

    def take_step(self, tracker: TensorTracker) -> None:
        """Take a step under a tracker."""
        for _ in range(self._recipe.grad_accum):
            with tracker.phase("forward"):
                loss = self._loss()
            self._snapshots["end_of_forward"] = self._snapshot(tracker)
            with tracker.phase("backward"):
                loss.backward()
            loss = loss.detach()  # a number to log, without its graph
        self._snapshots["end_of_backward"] = self._snapshot(tracker)
        with tracker.phase("optimizer_step"):
            self.optimizer.step()
        self.optimizer.zero_grad()
        self._snapshots["idle"] = self._snapshot(tracker)

    def _loss(self) -> Tensor:
        """Run the forward pass of one micro-batch; only the loss and its graph outlive it."""
        recipe = self._recipe
        ids = torch.zeros(recipe.micro_batch, recipe.seq_len, dtype=torch.long)
        with self._autocast():
            loss: Tensor = self.model(input_ids=ids, labels=ids, use_cache=False).loss
        return loss

    def _autocast(self) -> AbstractContextManager[Any]:
        adapters = self._recipe.lora
        if self._recipe.compute == self._recipe.params and not (adapters and adapters.autocast):
            return nullcontext()
        return torch.autocast("cpu", dtype=DTYPES[self._recipe.compute])

    def _split(self, components: Components) -> Components:
        """Return the components with the trained adapters apart from the frozen weights."""
        if not self._recipe.lora:
            return components
        adapters = sum(p.nbytes for p in self.model.parameters() if p.requires_grad)
        return {**components, "params": components["params"] - adapters, "adapters": adapters}

    def _snapshot(self, tracker: TensorTracker) -> Snapshot:
        """Return the bytes alive now by the kinds of PyTorch's tracker."""
        now = tracker.now
        weights = sum(parameter.nbytes for parameter in self.model.parameters())
        snapshot = {
            "Parameter": weights,
            "Buffer": now["params"] - weights,
            "Gradient": now["grads"],
            "Activation": now["activations"] + now["logits_loss"],
            "Temp": now["workspace"],
            "Optstate": now["moments"],
            "Other": 0,
        }
        return snapshot | {"Total": sum(snapshot.values())}


class LowRankLinear(nn.Module):
    """A frozen linear layer and its adapter of rank `rank` in `dtype`."""

    def __init__(self, base: Any, rank: int, dtype: torch.dtype, scaling: float) -> None:
        super().__init__()
        inputs, outputs = base.weight.shape[:: 1 if isinstance(base, Conv1D) else -1]
        self.base = base
        self.down = nn.Linear(inputs, rank, bias=False, dtype=dtype)
        self.up = nn.Linear(rank, outputs, bias=False, dtype=dtype)
        self.scaling = scaling
        nn.init.zeros_(self.up.weight)  # a fresh adapter changes nothing

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, in) to (B, T, out), in the dtype of the frozen layer."""
        frozen: Tensor = self.base(x)
        adapted = self.up(self.down(x.to(self.down.weight.dtype))) * self.scaling
        both: Tensor = (frozen + adapted).to(frozen.dtype)
        return both


def attach_adapters(
    model: Any, targets: Collection[str], rank: int, dtype: torch.dtype, scaling: float = 2.0
) -> set[str]:
    """Freeze `model`, add adapters to the linear layers named in `targets`, return their names.

    A name is the last part of a layer's path: `q_proj` stands for that layer of every block, and
    "all-linear" for every linear layer but the head. Experts that are stacked in one tensor are not
    linear layers.
    """
    model.requires_grad_(False)
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    ]
    if "all-linear" not in targets:
        found = [entry for entry in found if entry[0].rpartition(".")[2] in targets]
    for path, layer in found:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, LowRankLinear(layer, rank, dtype, scaling))
    return {path.rpartition(".")[2] for path, _ in found}
