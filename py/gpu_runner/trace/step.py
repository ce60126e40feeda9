"""One training step of a Hugging Face model, followed tensor by tensor; nothing is allocated.

The model is built from its configuration under fake tensors: they have shape, precision and an
owner, but no memory, so an 8B model is traced on a laptop in half a minute. The first step makes
the moments appear, the second is the one recorded. What the tracker sees and what it does not is
in docs/decisions/0012-traced-steps.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.trace import adapters
from gpu_runner.trace.step_tracker import Components, Snapshot, StepTracker
from unfrozen.errors import PlanError, shown
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
UNMASKED: Final = "sdpa_unmasked"  # what sdpa does on CUDA where no row is padded: FlashAttention
OPTIMIZERS: Final = ("adamw", "sgd", "sgd_momentum")
COMMAND: Final = "python -m gpu_runner trace - --json"

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
    """What one step held: bytes by instant and component, and the tracker's own snapshots."""

    job: Mapping[str, Any]
    num_parameters: int
    instants: dict[str, Components]
    end_of_forward: Snapshot
    end_of_backward: Snapshot
    idle: Snapshot

    @property
    def before_step_bytes(self) -> int:
        """The peak before the optimizer's update."""
        rest = [name for name in self.instants if name != "optimizer_step"]
        return max(sum(self.instants[name].values()) for name in rest)

    @property
    def peak_bytes(self) -> int:
        """The peak of all instants."""
        return max(sum(components.values()) for components in self.instants.values())

    def row(self, name: str) -> dict[str, Any]:
        """Return the trace in the schema of web/measurements/traced.json, and by instant."""
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
            "command": COMMAND,
        }


def read(given: Mapping[str, Any]) -> Job:
    """Check a planner's job; raises `UsageError` for what it forbids or no trace can show."""
    try:
        job = Job.read(given)
    except PlanError as error:
        raise UsageError(str(error)) from None
    recipe = job.recipe
    for key, traced in _TRACED.items():
        if getattr(recipe, key) not in traced:
            _refuse(f"recipe.{key}", getattr(recipe, key), f"a trace knows {_words(traced)}")
    trained = recipe.lora.dtype if recipe.lora else recipe.params
    for key in ("grads", "moments") if recipe.optimizer != "sgd" else ("grads",):
        if getattr(recipe, key) != trained:
            bound = f"PyTorch keeps them as what it trains, {trained}"
            _refuse(f"recipe.{key}", getattr(recipe, key), bound)
    if recipe.lora and recipe.lora.library != "peft":
        _refuse("recipe.lora.library", recipe.lora.library, "a trace knows peft")
    if recipe.lora and recipe.lora.drops:
        bound = "a trace runs the processor's dropout, whose masks are wider than a card's"
        _refuse("recipe.lora.dropout", recipe.lora.dropout, bound)
    if job.model.architecture.experts and recipe.params != "bf16":
        bound = "PyTorch knows the shapes of grouped products in bf16 only"
        _refuse("recipe.params", recipe.params, f"a mixture of experts: {bound}")
    for field in fields(Cluster):
        value = getattr(job.cluster, field.name)
        if value != getattr(Cluster(), field.name):
            _refuse(f"cluster.{field.name}", value, "a trace is of one card, nothing sharded")
    return job


def _refuse(key: str, value: object, bound: str) -> None:
    remedy = "change it, or ask unfrozen plan, which needs no trace"
    raise UsageError(f"{key}: got {shown(value)}; {bound}; {remedy}")


def _words(values: tuple[object, ...]) -> str:
    return ", ".join("null" if v is None else str(v).lower() for v in values)


def trace(given: Mapping[str, Any]) -> Trace:
    """Trace one step of a job. Raises `UsageError` and `ModelLoadError`, see `read` and `build`."""
    job = read(given)
    with FakeTensorMode():
        model = build(given["model"], job.recipe)
        counted = sum(parameter.numel() for parameter in model.parameters())  # tied ones once
        if counted != job.model.num_parameters:
            raise ModelLoadError(
                f"transformers builds {counted:,} parameters from this model, the planner counts"
                f" {job.model.num_parameters:,}: they would not be compared on one thing. Check"
                " the keys of the model."
            )
        if lora := job.recipe.lora:
            found = adapters.attach(model, lora.targets, lora.rank, DTYPES[lora.dtype])
            for name in sorted({*lora.targets} - found - {"all-linear"}):
                _refuse("recipe.lora.targets", name, "no linear layer of the model is called so")
        return _Tracing(given, job.recipe, model, counted).run()


def build(config: Mapping[str, Any], recipe: Recipe) -> Any:
    """The model in training mode, no weights loaded; raises `ModelLoadError` for a bad config."""
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
    except Exception as error:  # a wrong config makes the library raise anything
        raise ModelLoadError(f"transformers cannot build this model: {error}") from error
    model.train()
    if recipe.checkpointing == "full":
        enable = getattr(model, "activation_checkpointing_enable", None)
        enable = enable or model.gradient_checkpointing_enable  # its name before 5.20
        enable({"use_reentrant": False})
        model.disable_input_require_grads()  # only reentrant checkpoints need it; it leaks here
    return model


def _optimizer(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused, foreach = recipe.step == "fused", recipe.step == "foreach"
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=1e-5, fused=fused, foreach=foreach)
    momentum = 0.9 if recipe.optimizer == "sgd_momentum" else 0.0
    return torch.optim.SGD(weights, lr=1e-5, momentum=momentum, fused=fused, foreach=foreach)


class _Tracing:
    """One model, two steps, the second recorded."""

    def __init__(
        self, given: Mapping[str, Any], recipe: Recipe, model: Any, num_parameters: int
    ) -> None:
        self._given = given
        self._recipe = recipe
        self._model = model
        self._num_parameters = num_parameters
        self._optimizer = _optimizer(model, recipe)
        self._tracker = StepTracker(model, self._optimizer)
        self._snapshots: dict[str, Snapshot] = {}

    def run(self) -> Trace:
        """Trace both steps."""
        loaded = self._tracker.components()
        with self._tracker:
            self._step()
            self._tracker.forget_peaks()
            self._step()
        instants = {"load": loaded, **self._tracker.peaks}
        return Trace(self._given, self._num_parameters, instants, **self._snapshots)

    def _step(self) -> None:
        for _ in range(self._recipe.grad_accum):
            self._tracker.reset_mod_stats()
            self._tracker.enter("end_of_forward")
            loss = self._loss()
            self._snapshots["end_of_forward"] = self._tracker.snapshot()
            loss.backward()
            loss = loss.detach()  # a number to log, without its graph
        self._tracker.enter("end_of_backward")
        self._snapshots["end_of_backward"] = self._tracker.snapshot()
        self._tracker.enter("optimizer_step")
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._snapshots["idle"] = self._tracker.snapshot()

    def _loss(self) -> torch.Tensor:
        """Forward of one micro-batch; only its loss outlives it, and what autograd saves."""
        recipe = self._recipe
        ids = torch.zeros(recipe.micro_batch, recipe.seq_len, dtype=torch.long)
        with self._autocast():
            loss: torch.Tensor = self._model(input_ids=ids, labels=ids, use_cache=False).loss
        return loss

    def _autocast(self) -> AbstractContextManager[Any]:
        adapters = self._recipe.lora
        if self._recipe.compute == self._recipe.params and not (adapters and adapters.autocast):
            return nullcontext()
        return torch.autocast("cpu", dtype=DTYPES[self._recipe.compute])
